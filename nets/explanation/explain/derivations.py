"""The same number by derivations that use no formula of the package: reverse mode, forward mode, central difference."""

import torch
from torch import Tensor
from torch.func import functional_call, jvp

from nets.explanation.explain.partial_derivative import PartialDerivative

STEP = 2.0**-17
"""Relative to θ or to one: here the truncation error, about h², equals the rounding error, about 1e-16/h."""


def step_size(partial: PartialDerivative) -> float:
    """h of the central difference."""
    return STEP * max(1.0, abs(float(partial.point[partial.index])))


def reverse_mode(partial: PartialDerivative) -> float:
    """∂Y_k/∂θ by PyTorch's backward pass."""
    point = partial.point.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_output(partial, point), point, allow_unused=True)
    return 0.0 if gradient is None else float(gradient[partial.index])


def forward_mode(partial: PartialDerivative) -> float:
    """∂Y_k/∂θ by a dual number, θ + ε, without any backward pass."""
    direction = torch.zeros_like(partial.point)
    direction[partial.index] = 1
    tangent: Tensor = jvp(lambda point: _output(partial, point), (partial.point,), (direction,))[1]
    return float(tangent.detach())


@torch.no_grad()
def central_difference(partial: PartialDerivative) -> float:
    """(Y_k(θ + h) − Y_k(θ − h)) / 2h from two forward passes, with an error of about h² and 1e-16/h."""
    step, index = step_size(partial), partial.index
    up, down = partial.point.clone(), partial.point.clone()
    up[index] += step
    down[index] -= step
    return float((_output(partial, up) - _output(partial, down)) / (up[index] - down[index]))


def _output(partial: PartialDerivative, point: Tensor) -> Tensor:
    """Y_k with `point` in place of the parameter, or of the sample."""
    if partial.layer < 0:
        y: Tensor = partial.network(point[None])
    else:
        y = functional_call(partial.network, {partial.name: point}, (partial.x,))
    return y[0].flatten()[partial.output]
