"""nets.explain_loss: ∂ℓ/∂θ is the gradient of `descend`, the sum of its terms, and what its formula gives."""

import re

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.architectures import gpt
from nets.calculus.losses import LOSSES, MaskedCrossEntropy
from nets.errors import InputError
from nets.explanation.explain.loss_symbol import LossSymbol
from tests.loss_rows import ROWS

TOKENS = torch.tensor([[1, 4, 2], [0, 3, 3]])
NEXT = torch.tensor([[4, 2, 0], [3, 3, 1]])
GENERATOR = torch.Generator().manual_seed(0)
Y = torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64) * 3
UNIT = torch.rand(6, 4, generator=GENERATOR, dtype=torch.float64)
NAMES = ["blocks.0.attention.query.weight[3,2]", "blocks.0.norm_1.weight[1]", "token.weight[4,1]"]


def small_gpt(tied: bool) -> nets.Network:
    return gpt(tokens=5, context=3, width=4, heads=2, blocks=1, tied=tied)


def gradient_of_descend(network: nets.Network, x: Tensor, targets: Tensor, loss: nets.Loss, name: str) -> Tensor:
    data = nets.Batch(x, targets)
    list(nets.descend(network, data, loss=loss, learning_rate=0.1, steps=1, batch_size=len(x)))
    gradient = network.get_parameter(name).grad
    assert gradient is not None
    return gradient


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_gradient_of_descend(name: str, tied: bool) -> None:
    loss = nets.CrossEntropy(label_smoothing=0.1)
    found = nets.explain_loss(small_gpt(tied), TOKENS, name, loss=loss, targets=NEXT)
    parameter, index = name[:-1].split("[")
    gradient = gradient_of_descend(small_gpt(tied).double(), TOKENS, NEXT, loss, parameter)
    expected = float(gradient[tuple(map(int, index.split(",")))])
    assert abs(expected) > 1e-6
    exact = [value for key, value in found.derivations.items() if key != "central difference"]
    assert [*exact, found.value, *(each.value for each in found.notations)] == pytest.approx(
        [expected] * 6, rel=1e-12, abs=1e-15
    )
    assert found.derivations["central difference"] == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert float(found.products.sum()) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", list(LOSSES))
def test_the_symbol_of_every_loss_gives_its_gradient(name: str, reduction: str) -> None:
    loss, targets = LOSSES[name](reduction), ROWS[name].targets(UNIT)
    if name == "masked_cross_entropy":
        targets[1] = -100
    symbol = LossSymbol(loss, Y, targets)
    assert symbol.fault == ""
    gradient = loss.gradient(Y, targets)
    torch.testing.assert_close(symbol.values(), gradient, rtol=1e-13, atol=1e-15)
    for index in ((0, 0), (1, 2), (5, 3)):
        assert _value(symbol.in_numbers(index)) == pytest.approx(float(gradient[index]), rel=1e-4, abs=1e-6)


def _value(text: str) -> float:
    """The number that a text such as '2 (0.25 − 1) / 8' stands for."""
    python = text.replace("−", "-").replace("≤", "<=").replace("·", "*").replace("[", "float(").replace("]", ")")
    python = re.sub(r"(?<=[\d)])\s+(?=[(\dfs])", " * ", python)
    functions = {"abs": abs, "sign": lambda d: (d > 0) - (d < 0), "float": float}
    return float(eval(python.replace("σ", "sigma"), {**functions, "sigma": lambda y: float(torch.tensor(y).sigmoid())}))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_masked_tokens_contribute_nothing(smoothing: float) -> None:
    targets = torch.tensor([[4, 2, -100], [3, -100, -100]])
    loss = MaskedCrossEntropy(label_smoothing=smoothing)
    found = nets.explain_loss(small_gpt(False), TOKENS, NAMES[0], loss=loss, targets=targets)
    assert not found.products[targets < 0].any() and found.symbol.fault == ""
    assert found.value == pytest.approx(found.derivations["reverse mode"], rel=1e-12)
    assert any("M_nt" in text for _, text in found.lines) and "= 3, " in str(found.lines)


def test_letters_numbers_and_shares_are_shown() -> None:
    found = nets.explain_loss(small_gpt(False), TOKENS, NAMES[0], loss=nets.CrossEntropy(), targets=NEXT)
    text = str(found)
    for fact in ("Σ_ntk (P_ntk − Q_ntk) / C", "e^Y_ntk", "the other 25", "share of each position t", "four"):
        assert fact.lower() in text.lower(), fact
    lines = text.splitlines()
    assert max(len(line) for line in lines if not line.startswith("      ")) <= 80
    assert found.to_html().startswith("<!doctype html>") and "<sub>ntk</sub>" in found.to_html()


def test_a_small_network_has_its_own_formula() -> None:
    network, x = nets.mlp([3, 2]), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = nets.explain_loss(network, x, "0.weight", (1, 2), loss=nets.MeanSquaredError(), targets=torch.ones(4, 2))
    lines = dict(found.lines)
    assert lines["formula"] == "∂ℓ/∂W_ij = Σ_nk 2 (Y_nk − T_nk) / C · ∂Y_nk/∂W_ij"
    assert lines["at each n"] == "∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j"
    assert lines["here"].startswith("∂ℓ/∂W_1,2 = ")


class Quartic(nets.Loss):
    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        return ((y - target) ** 4).sum()

    def gradient(self, y: Tensor, target: Tensor) -> Tensor:
        return 4 * (y - target) ** 3

    def check(self, y: Tensor, target: Tensor) -> None:
        """Every target fits."""


class Misprinted(nets.MeanSquaredError):
    symbol = "({y} − {t}) / {c}"


def test_a_loss_without_a_symbol_has_a_named_factor() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = nets.explain_loss(nets.mlp([3, 2]), x, "0.bias[1]", loss=Quartic(), targets=torch.ones(4, 2))
    assert "∂ℓ/∂Y_nk · ∂Y_nk/∂B_i" in dict(found.lines)["formula"] and found.symbol.fault == ""
    assert found.value == pytest.approx(found.derivations["reverse mode"], rel=1e-12)


def test_a_symbol_that_is_not_the_gradient_is_reported() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = nets.explain_loss(nets.mlp([3, 2]), x, "0.bias[1]", loss=Misprinted(), targets=torch.ones(4, 2))
    assert "symbol of Misprinted" in found.agreement and "one of the two is wrong" in str(found)


@pytest.mark.parametrize(
    ("name", "targets", "loss", "facts"),
    [
        ("0.wieght[0,0]", torch.ones(4, 2), nets.MeanSquaredError(), ["0.wieght", "did you mean '0.weight'"]),
        ("input[0]", torch.ones(4, 2), nets.MeanSquaredError(), ["input", "0.weight"]),
        ("0.weight[2,0]", torch.ones(4, 2), nets.MeanSquaredError(), ["0.weight[2,0]", "0.weight[1,2]"]),
        ("0.weight", torch.ones(4, 2), nets.MeanSquaredError(), ["index", "0.weight[1,2]"]),
        ("0.bias[0]", torch.ones(3), nets.CrossEntropy(), ["targets", "(3,)"]),
        ("0.bias[0]", torch.ones(3, 2), nets.MeanSquaredError(), ["targets", "(3, 2)", "(4, 2)"]),
        ("0.bias[0]", [1, 2], nets.MeanSquaredError(), ["targets is [1, 2]", "tensor"]),
        ("0.bias[0]", torch.ones(4, 2), "cross_entropy", ["loss is 'cross_entropy'", "nets.CrossEntropy()"]),
        ("0.bias[0]", torch.ones(4, 2), torch.nn.MSELoss(), ["loss is MSELoss()", "nets.Loss"]),
        ("0.bias[0]", torch.full((4, 2), torch.inf), nets.MeanSquaredError(), ["loss is inf", "finite"]),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(name: str, targets: Tensor, loss: nets.Loss, facts: list) -> None:
    with pytest.raises(InputError) as error:
        nets.explain_loss(nets.mlp([3, 2]), torch.ones(4, 3), name, loss=loss, targets=targets)
    text = str(error.value)
    assert all(fact in text for fact in facts) and "\n" not in text and text.endswith((".", "?")), text
