"""The same number by derivations that use no formula of the package: reverse mode, forward mode, central difference."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, jvp

from nets.errors import InputError
from nets.explanation.explain.partial_derivative import PartialDerivative

DIFFERENCE_STEP = 2.0**-17
"""Relative to θ or to one: here the truncation error, about h², equals the rounding error, about 1e-16/h."""


def step_size(point: Tensor, index: tuple[int, ...]) -> float:
    """h of the central difference."""
    return DIFFERENCE_STEP * max(1.0, abs(float(point[index])))


def reverse_mode(partial: PartialDerivative) -> float:
    """∂Y_k/∂θ by PyTorch's backward pass.

    Raises:
        InputError: if no recorded operation leads from θ to Y_k.
    """
    point = partial.point.clone().requires_grad_()
    y = _output(partial, point)
    (gradient,) = torch.autograd.grad(y, point, allow_unused=True) if y.requires_grad else (None,)
    if gradient is None:
        raise InputError(
            f"PyTorch records no operation from {partial.name} to Y_{partial.output}; expected layers whose forward "
            "consists of recorded operations: look for detach, no_grad or NumPy in a forward."
        )
    return float(gradient[partial.index])


def forward_mode(partial: PartialDerivative) -> float | None:
    """∂Y_k/∂θ by a dual number, θ + ε, without a backward pass; None if PyTorch lacks forward mode of an operation."""
    direction = torch.zeros_like(partial.point)
    direction[partial.index] = 1
    try:
        tangent: Tensor = jvp(lambda point: _output(partial, point), (partial.point,), (direction,))[1]
    except (NotImplementedError, RuntimeError):  # the same forward ran before, so only its derivative can be missing
        return None
    return float(tangent.detach())


def central_difference(partial: PartialDerivative) -> float:
    """(Y_k(θ + h) − Y_k(θ − h)) / 2h from two forward passes."""
    return difference_quotient(lambda point: _output(partial, point), partial.point, partial.index)


@torch.no_grad()
def difference_quotient(function: Callable[[Tensor], Tensor], point: Tensor, index: tuple[int, ...]) -> float:
    """(f(θ + h) − f(θ − h)) / 2h for one number θ of a point, with an error of about h² and 1e-16/h."""
    step = step_size(point, index)
    up, down = point.clone(), point.clone()
    up[index] += step
    down[index] -= step
    return float((function(up) - function(down)) / (up[index] - down[index]))


def _output(partial: PartialDerivative, point: Tensor) -> Tensor:
    """Y_k with `point` in place of the parameter, or of the sample."""
    if partial.layer < 0:
        y: Tensor = partial.network(point[None])
    else:
        y = functional_call(partial.network, {partial.name: point}, (partial.x,))
    return y[0].flatten()[partial.output]
