"""Two evaluations of the module, one on each side of the point, and the slopes that they show."""

from typing import NamedTuple

import torch
from torch import Tensor

from nets.errors import InputError
from nets.verification.problem.problem import Problem

DIFFERENCE_SAFETY = 8.0
"""Rounding and truncation errors are estimates, not bounds: a derivative is wrong if its error is this many times as
large."""


class Slopes(NamedTuple):
    """Along one direction, with a step h; each of shape (M,).

    Attributes:
        central: D(h) = (f(p + h) − f(p − h)) / 2h.
        gap: the slope on the right less the slope on the left, (f(p + h) − 2 f(p) + f(p − h)) / h.
        noise: the rounding of the two outputs, which may be larger than that of f(p).
    """

    central: Tensor
    gap: Tensor
    noise: Tensor


def slopes_along(problem: Problem, moved: Tensor, step: float, direction: Tensor | float = 1.0) -> Slopes:
    """The slopes along a direction. NaN where the module cannot be called at one of the two places.

    Args:
        moved: the part of the point that moves, in the point's own memory. It is put back.
    """
    here = moved.clone()
    upper, lower = here + step * direction, here - step * direction
    # Divided by the distance of p + h and p − h after rounding.
    width = upper - lower if moved.ndim == 0 else 2 * step
    try:
        moved.copy_(upper)
        above = problem.evaluate()
        moved.copy_(lower)
        below = problem.evaluate()
    except InputError:  # the step leaves the domain of f
        return Slopes(*torch.full((3, len(problem.y)), torch.nan, dtype=problem.y.dtype))
    finally:
        moved.copy_(here)
    noise = problem.unit * torch.maximum(above.abs(), below.abs())
    return Slopes((above - below) / width, ((above - problem.y) - (problem.y - below)) / step, noise)
