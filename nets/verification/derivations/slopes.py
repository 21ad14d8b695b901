"""Two evaluations, one to each side of the point: the slopes that they show."""

from typing import NamedTuple

import torch
from torch import Tensor

from nets.verification.problem.problem import Problem

SAFETY = 8.0
"""Both error terms are estimates of a size, not bounds: a derivation is called wrong when it is off by this many of them."""


def central(problem: Problem, point: Tensor, entry: int, step: float) -> Tensor:
    """D(h) of every output along one entry of the flattened point, shape (M,). The point is put back."""
    return slopes_along(problem, point[entry], step).central


class Slopes(NamedTuple):
    """Along one direction: D(h); by how much the slope to the right is larger than that to the left, (f(p + h) − 2 f(p) + f(p − h))
    / h; and the rounding of what was subtracted, which may be larger than f(p). Each of shape (M,)."""

    central: Tensor
    gap: Tensor
    noise: Tensor


def slopes_along(problem: Problem, moved: Tensor, step: float, direction: Tensor | float = 1.0) -> Slopes:
    """By two evaluations.

    `moved` is the part of the point that moves, in the point's own memory, along a direction.
    """
    here = moved.clone()
    upper, lower = here + step * direction, here - step * direction
    # What p + h and p − h are when rounded is how far they are apart.
    width = upper - lower if moved.ndim == 0 else 2 * step
    try:
        moved.copy_(upper)
        above = problem.evaluate()
        moved.copy_(lower)
        below = problem.evaluate()
    except (RuntimeError, ValueError):
        # The step has left the domain of f.
        return Slopes(*torch.full((3, len(problem.y)), torch.nan, dtype=problem.y.dtype))
    finally:
        moved.copy_(here)
    noise = problem.unit * torch.maximum(above.abs(), below.abs())
    return Slopes((above - below) / width, ((above - problem.y) - (problem.y - below)) / step, noise)
