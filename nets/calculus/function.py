"""The closed form as a `torch.autograd.Function`, so that autograd's own tools apply to it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.layer import Layer
from nets.calculus.network import Network
from nets.calculus.parameters import first_names


class LayerFunction(torch.autograd.Function):
    """Y = f(X; θ), with the layer's pullback and gradients as backward and its pushforwards as forward mode.

    These are made of differentiable operations, so the function can be differentiated any number of times.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(layer: Layer, x: Tensor, *parameters: Tensor) -> Tensor:
        y: Tensor = layer.at(_named(layer, parameters))(x)
        return x.view_as(x) if y is x else y  # autograd saves no input that is returned as it is

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.layer, *tensors = inputs
        ctx.save_for_backward(output, *tensors)
        ctx.save_for_forward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        y, x, *parameters = ctx.saved_tensors
        named = _named(ctx.layer, parameters)
        layer = ctx.layer.at(named)
        gradients = layer.checked_gradients(v, x, y)
        # An input of whole numbers, such as tokens, has no derivative.
        pulled = layer.checked_pullback(v, x, y) if x.is_floating_point() else None
        return None, pulled, *(gradients[name] for name in named)

    @staticmethod
    def jvp(ctx: Any, _: None, t: Tensor | None, *tangents: Tensor) -> Tensor:
        y, x, *parameters = ctx.saved_tensors
        by_name = _named(ctx.layer, tangents)
        layer = ctx.layer.at(_named(ctx.layer, parameters))
        by_input = torch.zeros_like(y) if t is None else layer.pushforward(t, x, y)
        return by_input + layer.parameter_pushforward(by_name, x, y) if by_name else by_input


def closed_form(network: Network, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Y of the network at `parameters`, keyed as `named_parameters()` keys them, through the layers' closed forms
    alone.

    A parameter that is missing there, such as a frozen one, has the network's value.
    """
    at = dict(network.named_parameters()) | dict(parameters)
    first = first_names(network)
    for step, layer in network.steps():
        own = (at[first[f"{step}.{name}"]] for name in _names(layer))
        x = LayerFunction.apply(layer, x, *own)  # type: ignore[no-untyped-call]
    return x


class ClosedForm(nn.Module):
    """A network as a module whose backward is the closed form.

    Args:
        network: its parameters are those of the module, under names that begin with 'network.'.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Y."""
        return closed_form(self.network, x, dict(self.network.named_parameters()))


def _names(layer: Layer) -> list[str]:
    return [name for name, _ in layer.named_parameters()]


def _named(layer: Layer, tensors: tuple[Tensor, ...] | list[Tensor]) -> dict[str, Tensor]:
    return dict(zip(_names(layer), tensors, strict=True))
