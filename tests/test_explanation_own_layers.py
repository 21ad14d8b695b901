"""Explanations of a user's own layers; a derivative without a formula is a named factor with its number."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Linear, Tanh
from tests.in_matrix import chosen_in_test
from tests.layers.cube import Cube
from tests.layers.cumulative_sum import CumulativeSum
from tests.layers.layer_norm import LayerNorm
from tests.layers.scale import Scale
from tests.layers.softmax import Softmax
from tests.own_layers import CASES

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def between(layer: nets.Layer) -> nets.Network:
    generator = torch.Generator().manual_seed(2)
    first, last = Linear(4, 4, generator=generator), Linear(4, 2, generator=generator)
    return nets.Network([first, layer, Tanh(), last]).double()


NETWORKS = {
    "alone": lambda layer: nets.Network([layer]),
    "last": lambda layer: nets.Network([Linear(4, 4), layer]),
    "before an activation": lambda layer: nets.Network([layer, Tanh()]),
    "between linear layers": between,
    "with another": lambda layer: nets.Network([layer, CumulativeSum(), Softmax(), Linear(4, 3)]),
}


EVERYWHERE = ("cube", "layer_norm", "prelu")
"""An activation without a formula, a layer that couples its units, and an activation with a parameter."""

ROWS = [
    pytest.param(
        around, name, marks=[] if around == "between linear layers" or name in EVERYWHERE else pytest.mark.matrix
    )
    for around in NETWORKS
    for name, case in CASES.items()
    if case.shape == (3,) and not case.tokens
]
"""Each layer between others, and some of each kind in each place; all of them in each place at `make matrix`."""


@pytest.mark.parametrize(("around", "name"), ROWS)
def test_every_derivation_notation_and_sum_over_paths_agrees_with_reverse_mode(around: str, name: str) -> None:
    network = NETWORKS[around](CASES[name].layer()).double()
    for parameter, point in {**dict(network.named_parameters()), "input": X[0]}.items():
        index = tuple(size - 1 for size in point.shape)
        for k in (0, network(X).shape[1] - 1):
            explanation = nets.explain(network, X, parameter, index, sample=1, output=k)
            x = X.clone().requires_grad_()
            leaf = x if parameter == "input" else point
            (gradient,) = torch.autograd.grad(network(x)[1, k], leaf, allow_unused=True)
            truth = float(gradient[1][index] if parameter == "input" else gradient[index])
            *exact, difference = explanation.derivations.values()
            numbers = [*exact, *(notation.value for notation in explanation.notations)]
            numbers.append(explanation.paths.total * explanation.shared_factor)
            assert numbers == pytest.approx([truth] * len(numbers), rel=1e-11, abs=1e-14)
            assert difference == pytest.approx(truth, rel=1e-6, abs=1e-8)
            assert all(factor.consistent for factor in explanation.factors)
            if explanation.paths.count == 1:
                assert math.prod(factor.value for factor in explanation.factors) == pytest.approx(truth, abs=1e-14)
            assert (explanation.zero != "") == (explanation.value == 0)
            assert max(map(len, str(explanation).splitlines())) <= 80


@pytest.mark.parametrize("around", NETWORKS)
def test_the_backward_pass_is_drawn(around: str) -> None:
    network = NETWORKS[around](LayerNorm(4)).double()
    picture = nets.picture(network, X, sample=1)
    network(X)[1, 0].backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(picture.gradients[name], parameter.grad)
    assert "LayerNorm" in picture.to_svg()


@pytest.mark.parametrize("name", chosen_in_test(CASES, lambda name: not name.startswith(("transformer", "block"))))
def test_samples_of_any_shape(name: str) -> None:
    """Explains each parameter and the input of the network; the output is given as an index or as a number."""
    case = CASES[name]
    network = case.network()
    shape = network(case.x).shape[1:]
    last = tuple(size - 1 for size in shape)
    points = {"input": case.x[0]} if case.x.is_floating_point() else {}
    for parameter, point in {**dict(network.named_parameters()), **points}.items():
        index = tuple(size - 1 for size in point.shape)
        explanation = nets.explain(network, case.x, parameter, index, sample=2, output=last)
        truth = nets.jacobians(network, case.x)[parameter].entry(2, *last, *index)
        numbers = [*list(explanation.derivations.values())[:3], *(notation.value for notation in explanation.notations)]
        numbers.append(explanation.paths.total * explanation.shared_factor)
        assert numbers == pytest.approx([truth] * len(numbers), rel=1e-11, abs=1e-14)
        assert explanation.output == math.prod(shape) - 1 and "nets-picture" in explanation.to_html()
        assert "gives" not in explanation.agreement
        # A name is not broken: each character beyond those of '0.weight' and the like makes its table wider.
        assert max(map(len, str(explanation).splitlines())) <= 80 + max(0, len(parameter) - 20)


def test_a_derivative_without_a_formula_is_a_named_factor_with_its_number() -> None:
    network = between(Softmax())
    explanation = nets.explain(network, X, "0.bias[3]", output=1)
    y = network[1](network[0](X))[0].detach()
    (softmax,) = [factor for factor in explanation.factors if factor.layer == "1 Softmax"]
    above = int(softmax.derivative[4])
    assert softmax.formula == softmax.derivative == f"∂H2_{above}/∂H1_3"
    assert softmax.value == pytest.approx(float(y[above] * (float(above == 3) - y[3])))
    assert dict(explanation.lines)["where"] == "A_ki = Σ_l W3_kl (1 − H3_l²) ∂H2_l/∂H1_i"


def test_a_shared_parameter_sums_over_the_units_that_it_changes() -> None:
    class Shared(nets.Layer):
        """Y_ni = θ_0 X_ni + θ_1: each parameter changes every unit."""

        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.tensor([1.5, -0.5]))

        def forward(self, x: Tensor) -> Tensor:
            return self.theta[0] * x + self.theta[1]

        def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return v * self.theta[0]

        def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"theta": torch.stack([(v * x).sum(), v.sum()])}

    explanation = nets.explain(between(Shared()), X, "1.theta[0]", output=0)
    assert explanation.paths.count == 4 and explanation.fed_units == (0, 1, 2, 3)
    assert explanation.formula == "∂Y_k/∂theta_i = Σ_l A_kl ∂H2_l/∂theta_i"
    assert explanation.paths.total == pytest.approx(explanation.value)
    assert explanation.value == pytest.approx(explanation.derivations["reverse mode"], rel=1e-12)


def test_a_scalar_parameter_needs_no_index() -> None:
    class Gain(nets.Layer):
        """Y = β X."""

        def __init__(self) -> None:
            super().__init__()
            self.beta = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.beta * x

        def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return v * self.beta

        def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"beta": (v * x).sum()}

    explanation = nets.explain(between(Gain()), X, "1.beta", output=1)
    assert explanation.where == "1.beta"
    numbers = [*list(explanation.derivations.values())[:3], *(notation.value for notation in explanation.notations)]
    assert numbers == pytest.approx([explanation.value] * 7)


def test_a_symbol_that_is_not_the_slope_is_not_shown() -> None:
    class Wrong(Cube):
        symbol = "2 {z}²"

    explanation = nets.explain(between(Wrong()), X, "0.bias[0]")
    (own,) = [factor for factor in explanation.factors if factor.layer == "1 Wrong"]
    assert own.formula == "∂H2_0/∂H1_0" and float(own.numbers.strip("()")) == pytest.approx(own.value, rel=1e-5)
    assert "agree" not in explanation.agreement and "gives" not in explanation.agreement

    class Right(Cube):
        symbol = "3 {z}²"

    (own,) = [f for f in nets.explain(between(Right()), X, "0.bias[0]").factors if f.layer == "1 Right"]
    assert own.formula == "3 H1_0²" and own.numbers.startswith("3 ") and own.consistent


def test_a_wrong_pullback_is_reported() -> None:
    class Wrong(Scale):
        def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return 1.01 * super().pullback(v, x, y)

    assert "do not agree" in nets.explain(between(Wrong(4)), X, "0.bias[1]").agreement


def test_a_subclass_that_contradicts_its_formulas_is_reported() -> None:
    class Halved(Linear):
        """Y = (W X + B) / 2, with the formulas of Linear."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 2

        def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return super().pullback(v, x, y) / 2

    network = nets.Network([Linear(4, 4), Halved(4, 3)]).double()
    agreement = nets.explain(network, X, "0.weight[1,2]", output=2).agreement
    assert "layer 1 Halved, W1_2,1" in agreement and "'entry by entry'" in agreement and "sum over" not in agreement
    agreement = nets.explain(network, X, "1.weight[1,2]").agreement
    assert "They do not agree" in agreement  # the gradients of Linear are wrong here


def test_a_zero_names_its_zero_factor_or_the_units_that_the_parameter_changes() -> None:
    network = nets.Network([Scale(4), Tanh()]).double()
    with torch.no_grad():
        network[0].weight[2] = 0
    zero = nets.explain(network, X, "input[2]", output=2)
    assert zero.value == 0 and "∂H1_2/∂X_2 = 0 (layer 0 Scale)" in zero.zero
    apart = nets.explain(network, X, "0.weight[2]", output=1)
    assert apart.value == 0 and "δ_1,2 = 0" in apart.zero and "output=2" in apart.zero
    assert nets.explain(network, X, "0.weight[2]").output == 2


class Rounded(torch.autograd.Function):
    """The identity, with a custom backward and without forward mode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Tensor:
        return v


class Own(nets.Layer):
    """Y = X, computed by a custom autograd function."""

    def forward(self, x: Tensor) -> Tensor:
        return Rounded.apply(x)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v


def test_a_derivation_that_pytorch_lacks_is_absent() -> None:
    explanation = nets.explain(between(Own()), X, "0.bias[1]")
    assert list(explanation.derivations) == ["closed form", "reverse mode", "central difference"]
    assert "Three derivations" in str(explanation) and "The first two are within" in explanation.agreement
    assert "do not agree" not in explanation.agreement


class Detached(Own):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach() * 1


class WrongShape(Own):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v.sum(-1, keepdim=True)


class NoLeadingAxes(Own):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v @ torch.eye(5, dtype=v.dtype)


@pytest.mark.parametrize(
    ("layer", "facts"),
    [
        (Detached(), ["0.bias", "Y_", "detach"]),
        (WrongShape(), ["layer 1: WrongShape.pullback", "the shape"]),
        (NoLeadingAxes(), ["layer 1: NoLeadingAxes.pullback", "fails"]),
    ],
    ids=["detached", "wrong shape", "error"],
)
def test_a_layer_that_cannot_be_explained_is_refused_in_a_sentence(layer: nets.Layer, facts: list[str]) -> None:
    with pytest.raises(nets.InputError) as error:
        nets.explain(between(layer), X, "0.bias[1]", output=0)
    text = str(error.value)
    assert all(fact in text for fact in facts) and "\n" not in text, text


def test_a_layer_without_gradients_is_refused_with_its_parameter() -> None:
    class WithoutGradients(LayerNorm):
        gradients = nets.Layer.gradients

    with pytest.raises(nets.InputError, match="WithoutGradients has the parameter weight and no gradients"):
        nets.explain(between(WithoutGradients(4)), X, "0.bias[1]")
