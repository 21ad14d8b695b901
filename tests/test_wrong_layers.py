"""The certificate of a network names the layer, and the method of the layer, that gives a wrong derivative."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.jacobian import DenseJacobian, Jacobian
from nets.calculus.layers import Linear, Tanh
from nets.records.location import Location
from nets.records.reason import Reason
from tests.layers.scale import Scale
from tests.own_layers import CASES, marked

WRONG = [marked(name, fault) for name, case in CASES.items() for fault in case.wrong]
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(3, 4, generator=GENERATOR, dtype=torch.float64)


class Tripled(Tanh):
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return 3 * super().slope(z, y)


class WrongWhereItIsBatched(Tanh):
    """Right for a cotangent of the shape of Y, and wrong with an axis in front."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * (1 - y * y) * (1 if v.ndim == y.ndim else 2)


class WrongInTraining(Tanh):
    """Right with an axis in front of the cotangent, as in the Jacobians, and wrong without one."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * (1 - y * y) * (2 if v.ndim == y.ndim else 1)


class WrongBias(Linear):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {**super().gradients(v, x, y), "bias": v.mean(0)}


class WrongJacobians(Linear):
    """Right gradients, and factors of the Jacobian that do not belong to them."""

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        found = super().jacobians(a, x, y)
        return {**found, "weight": DenseJacobian(2 * found["weight"].dense())}


class WrongTwice(WrongBias):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return -super().pullback(v, x, y)


def located(*layers: nets.Layer, coverage: str = "full") -> Location:
    certificate = nets.verify(nets.Network(layers).double(), X, coverage=coverage)
    assert certificate.verdict == "fail" and certificate.location is not None, str(certificate)
    again = nets.Certificate.from_json(json.dumps(json.loads(certificate.to_json())))
    assert again.location == certificate.location and certificate.sentence() == again.sentence()
    return certificate.location


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_wrong_slope_is_named_wherever_its_layer_stands(number: int) -> None:
    layers = [Linear(4, 4), Linear(4, 4)]
    layers.insert(number, Tripled())
    place = located(*layers)
    assert (place.module, place.kind, place.methods, place.by) == (str(number), "Tripled", ("slope",), ("input",))
    assert "Tripled.slope" in str(place)


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize(
    ("layer", "methods", "by"),
    [
        (lambda: WrongBias(4, 4), ("gradients",), ("bias",)),
        (lambda: WrongJacobians(4, 4), ("jacobians",), ("weight",)),
        (lambda: WrongTwice(4, 4), ("pullback", "gradients"), ("input", "bias")),
        (WrongWhereItIsBatched, ("pullback",), ("input",)),
        (WrongInTraining, ("pullback",), ("input",)),
    ],
)
def test_each_wrong_method_is_named(
    layer: Callable[[], nets.Layer], methods: tuple[str, ...], by: tuple[str, ...]
) -> None:
    place = located(Linear(4, 4), layer(), Linear(4, 2))
    assert (place.module, place.methods, place.by, place.also) == ("1", methods, by, ())


def test_every_wrong_layer_is_named() -> None:
    place = located(Tripled(), Linear(4, 4), WrongBias(4, 4), Tanh(), WrongTwice(4, 2))
    assert (place.module, place.also) == ("0", ("2", "4"))


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize("layer", [Tripled, lambda: WrongBias(80, 80)])
def test_the_layer_of_a_network_that_is_probed_is_named(layer: Callable[[], nets.Layer]) -> None:
    place = located(Linear(4, 80), layer(), Linear(80, 2), coverage="auto")
    assert place.module == "1"


def test_a_layer_of_a_network_with_names_is_named_by_them() -> None:
    network = nets.Network({"first": Linear(4, 3), "bend": Tripled(), "head": Linear(3, 2)}).double()
    certificate = nets.verify(network, X)
    assert certificate.location is not None and certificate.location.module == "bend"
    assert certificate.location.methods == ("slope",) and "`bend`" in certificate.sentence()


def test_the_failing_and_the_passing_side_of_the_layer_are_named() -> None:
    place = located(Linear(4, 4), Tripled(), Linear(4, 2))
    assert (place.failing, place.passing) == ("0", "2")


class WithoutAPullback(Tanh):
    """Zero, which is consistent with itself: the derivatives of a gradient of zero are zero."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 0 * v


class DetachedSlope(Tanh):
    """Right at first order, and constant for the second."""

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return (1 - y * y).detach()


def test_the_second_order_compares_the_gradient_with_reverse_mode() -> None:
    certificate = nets.verify(nets.Network([Linear(4, 2), WithoutAPullback()]), X, order=2)
    assert certificate.location is not None and certificate.location.methods == ("pullback",)
    gradients = [check for check in certificate.checks if check.output == "(Σ_m v_m Y_m)"]
    assert {check.parameter for check in gradients} == {"0.weight", "0.bias", "input"}
    assert all(check.actual == 0 and check.expected for check in gradients)


def test_a_slope_that_cannot_be_differentiated_fails_at_second_order_alone() -> None:
    network = nets.Network([Linear(4, 2), DetachedSlope()])
    first = [check for check in nets.verify(network, X).checks if check.against != "gradgradcheck"]
    assert {check.verdict for check in first} == {"pass"}
    second = nets.verify(network, X, order=2)
    assert second.verdict == "fail" and second.decisive is not None and second.decisive.oracle == "closed form"


class DetachedGradients(Scale):
    """Its gradients are right, and cannot be differentiated by the gradient that reaches them."""

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return super().gradients(v.detach(), x, y)


class DetachedPullback(Scale):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return super().pullback(v.detach(), x, y)


class WithoutCreateGraph(nets.Layer):
    """Its pullback is that of autograd, which records no graph of it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sin()

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().expand(v.shape).requires_grad_()
            return torch.autograd.grad(x.sin(), x, v)[0]


class DetachedInput(Scale):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return super().gradients(v, x.detach(), y)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    ("layer", "method", "by"),
    [
        (DetachedSlope, "slope", "input"),
        (lambda: DetachedPullback(4), "pullback", "v"),
        (lambda: DetachedGradients(4), "gradients", "v"),
        (lambda: DetachedInput(4), "gradients", "input"),
        (WithoutCreateGraph, "pullback", "v"),
    ],
    ids=["slope", "pullback", "gradients", "gradients by the input", "without create_graph"],
)
def test_a_method_that_cannot_be_differentiated_again_is_named(
    layer: Callable[[], nets.Layer], method: str, by: str, order: int, alone: bool
) -> None:
    network = nets.Network([layer()] if alone else [Linear(4, 4), layer(), Linear(4, 2)])
    certificate = nets.verify(network, X, order=order)
    place = certificate.location
    assert certificate.verdict == "fail" and place is not None, str(certificate)
    assert (place.module, place.methods, place.order) == ("0" if alone else "1", (method,), 2) and by in place.by
    assert (place.failing, place.passing) == ("", "") and f"{place.kind}.{method}" in certificate.sentence()
    assert nets.Certificate.from_json(certificate.to_json()).location == place
    assert Reason.KINK not in {check.reason for check in certificate.checks}
    if order == 1:
        failed = {check.reason: check.against for check in certificate.checks if check.verdict == "fail"}
        assert failed == {Reason.NOT_DIFFERENTIABLE_TWICE: "gradgradcheck"}


def test_the_second_order_of_many_numbers_is_checked_by_sums() -> None:
    network = nets.Network([Linear(4, 80), Tripled(), Linear(80, 2)])
    certificate = nets.verify(network, X, order=2)
    assert certificate.location is not None and certificate.location.module == "1"
    assert "all" in {check.parameter for check in certificate.checks}


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize(("name", "fault"), WRONG)
def test_a_wrong_layer_fails_at_the_wrong_points_only(name: str, fault: str) -> None:
    case = CASES[name]
    make, expected = case.wrong[fault]
    certificate = nets.verify(case.network(make()), case.x)
    failed = {check.parameter for check in certificate.checks if check.verdict == "fail"} - {"all"}
    assert failed == expected, str(certificate)
    place, layer = certificate.location, str(case.number)
    assert place is not None and (place.module, place.kind, place.also) == (layer, type(make()).__name__, ())
    own = any(parameter.startswith(f"{layer}.") for parameter in expected)
    methods = {"pullback"} | {"gradients"} if "input" in expected and own else {"gradients" if own else "pullback"}
    assert {"pullback" if method == "slope" else method for method in place.methods} == methods
    assert f"{place.kind}.{place.methods[0]}" in certificate.sentence()
