"""The index form of each Jacobian, as the source document and the chain rule write it."""

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.formulas import chain_rule, formulas
from nets.calculus.layer import Layer
from nets.calculus.layers import GELU, Activation, Identity, Linear, ReLU, Sigmoid, Sin, Softplus, Tanh
from nets.calculus.network import Network


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
