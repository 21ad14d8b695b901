"""One number of a Jacobian by derivations that share no formula: reverse mode, forward mode, central difference."""

import torch
from torch import Tensor
from torch.func import functional_call, jvp

from nets.calculus.network import Network

STEP = 2.0**-17
"""In units of the number that is moved, or of one: where truncation, about h², and rounding, about 1e-16/h, are equally large."""


def along(network: Network, x: Tensor, name: str, output: int, point: Tensor) -> Tensor:
    """Y_k with `point` in place of the parameter, or of the input."""
    y: Tensor = network(point) if name == "input" else functional_call(network, {name: point}, (x,))
    return y[0, output]


def point_of(network: Network, x: Tensor, name: str) -> Tensor:
    return (x if name == "input" else dict(network.named_parameters())[name]).detach()


def reverse_mode(network: Network, x: Tensor, name: str, index: tuple[int, ...], output: int) -> float:
    """∂Y_k/∂θ by PyTorch's backward pass."""
    point = point_of(network, x, name).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(along(network, x, name, output, point), point)
    return float(gradient[index])


def forward_mode(network: Network, x: Tensor, name: str, index: tuple[int, ...], output: int) -> float:
    """∂Y_k/∂θ by a dual number, θ + ε: no backward pass at all."""
    point = point_of(network, x, name)
    direction = torch.zeros_like(point)
    direction[index] = 1
    tangent: Tensor = jvp(lambda moved: along(network, x, name, output, moved), (point,), (direction,))[1]
    return float(tangent.detach())


@torch.no_grad()
def central_difference(
    network: Network, x: Tensor, name: str, index: tuple[int, ...], output: int, step: float
) -> float:
    """(Y_k(θ + h) − Y_k(θ − h)) / 2h: nothing but the forward pass, off by about h² and 1e-16/h."""
    point = point_of(network, x, name)
    up, down = point.clone(), point.clone()
    up[index] += step
    down[index] -= step
    rise = along(network, x, name, output, up) - along(network, x, name, output, down)
    return float(rise / (up[index] - down[index]))


def step_for(point: Tensor, index: tuple[int, ...]) -> float:
    return STEP * max(1.0, abs(float(point[index])))
