"""The index form of each Jacobian, as the source document and the chain rule write it."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.formulas import chain_rule, formulas
from nets.calculus.layer import Layer
from nets.calculus.layers import (
    ACTIVATIONS,
    GELU,
    Activation,
    Identity,
    Linear,
    ReLU,
    Sigmoid,
    Sin,
    Softmax,
    Softplus,
    Tanh,
)
from nets.calculus.network import Network
from nets.calculus.notation.symbols import slope_function
from nets.errors import InputError
from tests.own_layers import CASES


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([Linear(2, 2)], ["∂Y_k/∂W_ij = δ_ki X_j", "∂Y_k/∂B_i = δ_ki", "∂Y_k/∂X_j = W_kj"]),
        (
            [Linear(2, 2), Tanh()],
            ["∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j", "∂Y_k/∂B_i = δ_ki (1 − Y_k²)", "∂Y_k/∂X_j = (1 − Y_k²) W_kj"],
        ),
        ([Linear(2, 2, bias=False), Tanh(), Tanh()], ["∂Y_k/∂W_ij = δ_ki (1 − Y_k²) (1 − H2_k²) X_j",
                                                       "∂Y_k/∂X_j = (1 − Y_k²) (1 − H2_k²) W_kj"]),
        ([Tanh(), Tanh()], ["∂Y_k/∂X_j = δ_kj (1 − Y_k²) (1 − H1_k²)"]),
        ([Sin(), Linear(2, 2, bias=False)], ["∂Y_k/∂W_ij = δ_ki H1_j", "∂Y_k/∂X_j = W_kj cos X_j"]),
        ([Linear(2, 2, bias=False), Tanh(), Linear(2, 2, bias=False)],
         ["∂Y_k/∂W_ij = A_ki X_j", "∂Y_k/∂W_ij = δ_ki H2_j", "∂Y_k/∂X_j = Σ_i A_ki W_ij"]),
    ],
)  # fmt: skip
def test_formula(layers: list, expected: list[str]) -> None:
    assert list(map(str, formulas(Network(layers)).values())) == expected


@pytest.mark.parametrize(
    ("layer", "slope"),
    [
        (Sigmoid(), "Y_k(1 − Y_k)"),
        (ReLU(), "[H1_k > 0]"),
        (Softplus(), "σ(H1_k)"),
        (GELU(), "(Φ(H1_k) + H1_k φ(H1_k))"),
    ],
)
def test_slope_of_each_activation(layer: Linear, slope: str) -> None:
    assert str(formulas(Network([Linear(2, 2), layer, Identity()]))["0.bias"]).endswith(slope.replace("Y_k", "H2_k"))


def test_the_chain_rule_written_out() -> None:
    network = Network([Linear(2, 3), Tanh(), Linear(3, 3), Tanh(), Linear(3, 2), Tanh()])
    assert [chain_rule(network, index).text for index in (4, 2, 0, -1)] == [
        "δ_ki (1 − Y_k²)",
        "(1 − Y_k²) W4_ki (1 − H4_i²)",
        "Σ_l (1 − Y_k²) W4_kl (1 − H4_l²) W2_li (1 − H2_i²)",
        "Σ_l Σ_m (1 − Y_k²) W4_kl (1 − H4_l²) W2_lm (1 − H2_m²) W0_mj",
    ]
    assert chain_rule(Network([Tanh(), Tanh()]), -1).text == "δ_kj (1 − Y_k²) (1 − H1_k²)"
    assert chain_rule(Network(Linear(2, 2) for _ in range(6)), 0).text == "Σ W5_k· … W1_·i"


class Half(Layer):
    """Y = X/2, by an author who did not say how its derivative is written."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v / 2

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return t / 2


class Cube(Activation):
    """Y = Z³, without a symbol for its slope."""

    def forward(self, x: Tensor) -> Tensor:
        return x**3

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return 3 * z * z


def written(layers: list) -> dict[str, str]:
    return {name: str(formula) for name, formula in formulas(Network(layers)).items()}


def test_a_layer_that_does_not_write_its_derivative_is_a_named_factor() -> None:
    assert written([Linear(2, 2), Half()]) == {
        "0.weight": "∂Y_k/∂W_ij = A_ki X_j",
        "0.bias": "∂Y_k/∂B_i = A_ki",
        "input": "∂Y_k/∂X_j = Σ_i A_ki W_ij",
    }
    assert written([Half(), Linear(2, 2)])["input"] == "∂Y_k/∂X_j = Σ_i A_ki ∂H1_i/∂X_j"
    assert chain_rule(Network([Linear(2, 2), Half()]), 0).text == "∂Y_k/∂H1_i"


def test_an_elementwise_layer_without_a_symbol_is_a_named_factor_of_one_unit() -> None:
    assert written([Linear(2, 2), Cube()]) == {
        "0.weight": "∂Y_k/∂W_ij = δ_ki ∂Y_k/∂H1_k X_j",
        "0.bias": "∂Y_k/∂B_i = δ_ki ∂Y_k/∂H1_k",
        "input": "∂Y_k/∂X_j = ∂Y_k/∂H1_k W_kj",
    }


def test_a_formula_that_would_repeat_its_left_side_is_absent() -> None:
    assert written([Half()]) == {}
    assert list(written([Tanh(), Half()])) == ["input"]


@pytest.mark.parametrize("layers", [[Linear(3, 2), Half()], [Half(), Linear(3, 2)], [Cube()], [Half()]])
def test_a_layer_of_ones_own_is_verified(layers: list) -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert nets.verify(Network(layers).double(), x).passed


def random_network(seed: int) -> tuple[Network, Tensor]:
    """Up to eight layers of the package and of tests/layers/, over vectors of up to four units."""
    generator = torch.Generator().manual_seed(seed)

    def draw(least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (), generator=generator))

    own = [case.layer for case in CASES.values() if case.shape == (3,) and not case.tokens]
    known = [kind for name, kind in ACTIVATIONS.items() if name != "relu"]
    width, layers = 4, list[Layer]()
    inputs = draw(2, 4)
    layers.append(Linear(inputs, width, bias=bool(draw(0, 1)), generator=generator))
    for _ in range(draw(0, 6)):
        kind = draw(0, 2)
        layers.append(
            Linear(width, width, generator=generator) if kind == 0
            else own[draw(0, len(own) - 1)]() if kind == 1
            else known[draw(0, len(known) - 1)]()
        )  # fmt: skip
    layers.append(Linear(width, draw(1, 3), generator=generator))
    layers.extend([Tanh()] * draw(0, 2))
    start = draw(0, 1) * draw(0, 1)
    network = Network(layers[start:]).double()
    return network, torch.randn(3, inputs if start == 0 else 4, generator=generator, dtype=torch.float64)


def random_network_over_rows(seed: int) -> tuple[Network, Tensor]:
    """Up to six layers over samples of two or three axes; the last may have parameters."""
    generator = torch.Generator().manual_seed(seed)

    def draw(least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (), generator=generator))

    axes, layers, known = [draw(1, 3) for _ in range(draw(1, 2))], list[Layer](), [Tanh, GELU, Sin]
    widths = [draw(1, 3) for _ in range(draw(2, 4))]
    for inputs, outputs in pairwise(widths):
        layers.append(Linear(inputs, outputs, bias=bool(draw(0, 1)), generator=generator))
        layers.extend(known[draw(0, 2)]() for _ in range(draw(0, 1)))
    return Network(layers).double(), torch.randn(3, *axes, widths[0], generator=generator, dtype=torch.float64)


def network_with_an_own_layer_last(seed: int) -> tuple[Network, Tensor]:
    network, x = random_network(seed)
    own = [case.layer for case in CASES.values() if case.shape == (3,) and not case.tokens]
    wide = Linear(int(network(x).shape[1]), 4, generator=torch.Generator().manual_seed(seed))
    return Network([*network.layers, wide, own[seed % len(own)]()]).double(), x


LETTERS_OF_FORMULAS = ("A", "B", "H1", "H2", "W", "W2", "X", "Y", "Z", "δ", "σ")


class NamedLikeLetters(Layer):
    """Y_ni = X_ni Σ_p p_i, whose parameters have the names of the letters of formulas."""

    def __init__(self) -> None:
        super().__init__()
        for number, name in enumerate(LETTERS_OF_FORMULAS):
            self.register_parameter(name, torch.nn.Parameter(torch.linspace(-1, 1, 4) + number / 10))

    def forward(self, x: Tensor) -> Tensor:
        return x * sum(self.parameters())

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * sum(self.parameters())

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {name: (v * x).sum(0) for name, _ in self.named_parameters()}


def network_with_names_like_letters(seed: int) -> tuple[Network, Tensor]:
    network, x = network_with_an_own_layer_last(seed)
    return Network([*network.layers, NamedLikeLetters(), *([Linear(4, 2), Tanh()] if seed % 2 else [])]).double(), x


MAKERS = [random_network, random_network_over_rows, network_with_an_own_layer_last, network_with_names_like_letters]


def test_parameters_with_the_names_of_letters_have_their_layer_in_front() -> None:
    network = Network([Linear(3, 4), NamedLikeLetters(), Linear(4, 2)]).double()
    for name in LETTERS_OF_FORMULAS:
        assert str(formulas(network)[f"1.{name}"]) == f"∂Y_k/∂1.{name}_i = Σ_l A_kl ∂H2_l/∂1.{name}_i"
    assert "∂Y_0/∂1.A_1" in str(nets.explain(network, torch.ones(1, 3, dtype=torch.float64), "1.A", (1,)))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("make", MAKERS)
def test_every_formula_computes_the_entry_that_it_is_written_for(make: Any, seed: int) -> None:
    network, x = make(seed)
    jacobians = nets.jacobians(network, x)
    found = formulas(network, x)
    linear = {f"{i}.weight" for i, layer in enumerate(network.layers) if type(layer) is Linear}
    assert linear <= found.keys()
    for name, formula in found.items():
        shape = jacobians[name].shape
        generator = torch.Generator().manual_seed(seed)
        for _ in range(4):
            index = tuple(int(torch.randint(size, (), generator=generator)) for size in shape)
            expected = jacobians[name].entry(*index)
            assert formula.entry(*index) == pytest.approx(expected, rel=1e-9, abs=1e-12), f"{name}: {formula}"


def test_the_last_linear_layer_over_rows_is_written_with_its_axes() -> None:
    x = torch.ones(1, 2, 3, dtype=torch.float64)
    found = formulas(Network([Linear(3, 2), Tanh()]).double(), x)
    assert str(found["0.weight"]) == "∂Y_tk/∂W_ij = (1 − Y_tk²) δ_ki X_tj"
    assert str(found["0.bias"]) == "∂Y_tk/∂B_i = (1 − Y_tk²) δ_ki"


@pytest.mark.parametrize("seed", range(20))
def test_every_chain_rule_computes_the_product_that_it_writes(seed: int) -> None:
    network, x = random_network(seed)
    values = network.trace(x)
    for index in range(-1, len(network)):
        after = Network(network.layers[index + 1 :])
        unit = torch.eye(values[-1].shape[1], dtype=x.dtype).expand(len(x), -1, -1)
        expected = nets.jacobians(after, values[index + 1].detach())["input"].dense() if len(after) else unit
        product = chain_rule(network, index, x)
        for n in range(len(x)):
            torch.testing.assert_close(product.numbers(n), expected[n], rtol=1e-9, atol=1e-12)


class Misprinted(Tanh):
    symbol = "(1 + {y}²)"


def test_a_symbol_that_is_not_the_slope_is_not_printed() -> None:
    x = torch.ones(2, 2, dtype=torch.float64)
    found = formulas(Network([Linear(2, 2), Misprinted()]).double(), x)["0.bias"]
    assert "1 +" not in str(found) and "∂Y_k/∂H1_k" in str(found)


def test_a_symbol_that_is_left_out_is_named_with_an_input_that_shows_why() -> None:
    network, x = Network([Linear(2, 2), Misprinted()]).double(), torch.ones(2, 2, dtype=torch.float64)
    z, y = (float(value[0, 0].detach()) for value in network.trace(x)[1:])
    for notes in (nets.verify(network, x).notes, dict(nets.explain(network, x, "0.bias[0]").lines).values()):
        (note,) = [note for note in notes if "left out" in note]
        for fact in ("layer 1 (Misprinted)", Misprinted.symbol, f"input {z:.6g}", f"{1 + y * y:.4g}"):
            assert fact in note, note
    network = Network([Linear(2, 2), Tanh()]).double()
    assert not any("left out" in note for note in nets.verify(network, x).notes)


@pytest.mark.parametrize(
    ("layers", "defined", "absent"),
    [
        ([Linear(2, 2)], ["δ_ki is"], ["A_ki is", "H1 is"]),
        ([Linear(2, 2, bias=False), Tanh(), Linear(2, 2, bias=False)], ["A_ki is", "δ_ki is", "H1 is"], ["σ"]),
        ([Linear(2, 2), ReLU()], ["δ_ki is", "[a > b] is", "H1 is"], ["A_ki is"]),
        ([Linear(2, 2), GELU()], ["δ_ki is", "Φ is", "φ is"], ["[a > b]"]),
        ([Linear(2, 2), Softplus()], ["σ(z) is"], ["Φ"]),
        ([Softmax()], ["δ_ki is"], ["H1 is"]),
    ],
)  # fmt: skip
def test_a_certificate_defines_the_letters_of_its_formulas(layers: list, defined: list[str], absent: list[str]) -> None:
    x = torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    certificate = nets.verify(Network(layers).double(), x)
    (legend,) = [note for note in certificate.notes if note.startswith("in the formulas")]
    assert all(letter in legend for letter in defined) and not any(letter in legend for letter in absent), legend
    assert legend in str(certificate) and "\n" not in legend


def test_a_certificate_without_a_formula_defines_no_letters() -> None:
    assert nets.verify(Network([Half()]).double(), torch.ones(2, 2, dtype=torch.float64)).notes == ()


@pytest.mark.parametrize(
    "symbol", [5, "3{z", "{w}", "max({z}, 0)", "{z} +", "({z}", "cos", "__import__('os')", "{z} = 1", "lambda"]
)
def test_a_symbol_in_another_notation_is_refused(symbol: str) -> None:
    with pytest.raises(InputError, match=r"the symbol of Odd is .*; expected .* \{z\} for the input"):
        slope_function(symbol, "Odd")


@pytest.mark.parametrize(
    ("symbol", "value"),
    [("2{z}² − {y}/4", 17.75), ("[{z} ≥ 3](1 + exp(−{y}))", 1 + math.exp(-1)), ("−{z}^3 · {y}", -27.0), ("3", 3.0),
    ("", 1.0),
     ("sin {z} cos {y}", math.sin(3) * math.cos(1)), ("2 σ({z} − 3) {y}", 1.0), ("log(exp {z})³", 27.0)],
)  # fmt: skip
def test_symbols_are_read_as_a_textbook_writes_them(symbol: str, value: float) -> None:
    z, y = torch.tensor([3.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    assert slope_function(symbol)(z, y).item() == pytest.approx(value)


def test_a_formula_without_a_batch_has_no_numbers() -> None:
    with pytest.raises(InputError, match=r"formulas\(network, x\)"):
        formulas(Network([Linear(2, 2)]))["0.weight"].entry(0, 0, 0, 0)
