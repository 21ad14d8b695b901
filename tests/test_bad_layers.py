"""Incomplete layers of a user's own, and wrong registrations, are refused in one sentence."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Linear, Tanh, conversion
from tests.own_layers import CASES


class WithoutGradients(nets.Layer):
    """A parameter without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * self.weight


def test_a_parameter_without_a_gradient_is_refused() -> None:
    case = CASES["scale"]
    own = case.network(WithoutGradients())
    for call in (nets.verify, nets.jacobians):
        with pytest.raises(
            nets.InputError, match="WithoutGradients has the parameter weight and no gradients; expected"
        ):
            call(own, case.x)


class Forgetful(WithoutGradients):
    """Its gradients have another shape than the parameter, and its pullback another shape than the input."""

    def __init__(self, *found: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, dtype=torch.float64))
        self.found = found

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v.sum(-1) if "flat" in self.found else v * self.weight

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        found = {"weight": v * x if "samples" in self.found else (v * x).sum(0)}
        return {} if "nothing" in self.found else found | ({"wieght": v.sum(0)} if "misspelt" in self.found else {})


@pytest.mark.parametrize(
    ("found", "fact"),
    [
        ("samples", r"weight .* Forgetful.gradients .* \(3, 4\); expected \(4,\)"),
        ("nothing", "layer 1: Forgetful.gradients returned no gradient of weight; expected .* key weight"),
        ("misspelt", "layer 1: Forgetful.gradients returned a gradient of 'wieght'; expected .* key weight"),
        ("flat", r"layer 1: Forgetful\.pullback returned .* shape \((\d), 3\); expected .* \(\1, 3, 4\)"),
    ],
)
def test_results_of_the_wrong_shape_are_refused(found: str, fact: str) -> None:
    case = CASES["scale"]
    for call in (nets.verify, nets.jacobians):
        with pytest.raises(nets.InputError, match=fact):
            call(case.network(Forgetful(found)), case.x)


def test_a_layer_without_a_forward_is_refused() -> None:
    class Empty(nets.Layer):
        def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return v

    with pytest.raises(nets.InputError, match=r"Empty has no forward; expected .* forward\(x\), or function"):
        nets.verify(nets.Network([Empty()]), CASES["scale"].x)


class Unregistered(nn.Module):
    pass


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ((3, lambda module: None), "the class to register is 3; expected a subclass of torch.nn.Module"),
        ((int, lambda module: None), "the class to register is <class 'int'>; expected a subclass"),
        ((nn.Softsign(), lambda module: None), r"the class to register is Softsign\(\); expected a subclass"),
        ((Unregistered, Tanh()), r"converter of Unregistered is Tanh\(\); expected a function"),
        ((Unregistered, 3), "the converter of Unregistered is 3; expected a function"),
        ((nn.Linear, lambda module: None), r"Linear, which has the converter nets\.\S+ already; .* make a subclass"),
    ],
)
def test_a_wrong_registration_is_refused(arguments: Any, fact: str) -> None:
    with pytest.raises(nets.InputError, match=fact):
        nets.register(*arguments)


def test_a_cell_that_registers_a_converter_may_run_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run defines the same function once more, perhaps with another body."""
    monkeypatch.setattr("nets.calculus.layers.conversion._CONVERTERS", {})

    def run(layer: nets.Layer) -> None:
        def converter(module: nn.Module) -> nets.Layer:
            return layer

        nets.register(Unregistered, converter)

    for layer in (Tanh(), Linear(2, 2)):
        run(layer)
        assert nets.Network.from_torch(Unregistered()).layers[0] is layer
    with pytest.raises(nets.InputError, match=r"Unregistered, which has the converter \S+run\.<locals>\.converter"):
        nets.register(Unregistered, lambda module: Tanh())


def test_a_converter_that_returns_no_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nets.calculus.layers.conversion._CONVERTERS", {Unregistered: lambda module: module})
    with pytest.raises(
        nets.InputError, match=r"the converter of Unregistered returned Unregistered\(\); expected a nets.Layer"
    ):
        nets.Network.from_torch(Unregistered())


@pytest.mark.parametrize("converter", [lambda module: module.absent, lambda: None], ids=["raises", "takes nothing"])
def test_a_converter_that_fails_is_refused(converter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conversion._CONVERTERS, Unregistered, converter)
    with pytest.raises(nets.InputError, match=r"converter of Unregistered fails with (Attribute|Type)Error .* layer 1"):
        nets.Network.from_torch(nn.Sequential(nets.Linear(3, 4), Unregistered()))


def test_a_layer_stands_for_itself_in_a_sequence_of_torch() -> None:
    layer = Linear(2, 2)
    assert nets.Network.from_torch(nn.Sequential(nn.Tanh(), layer)).layers[1] is layer
