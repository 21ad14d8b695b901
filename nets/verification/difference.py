"""Central differences with their own error bars.

    D(h) = (f(p + h t) − f(p − h t)) / 2h = f′ + h²/6 f‴ + O(h⁴)        D = (4 D(h) − D(2h)) / 3 = f′ + O(h⁴)

The difference (D(h) − D(2h))/3 measures the h² term, T. The h⁴ term that is left in D is smaller by about the ratio T / |f′|
once more, and rounding adds at most (3/2) ε / h for an output with noise ε. Source: Fornberg, Mathematics of Computation 51 (1988);
Press et al., "Numerical Recipes", section 5.7.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from nets.verification.oracles import by_columns
from nets.verification.problem import Problem

STEPS = tuple(2.0**-k for k in (4, 7, 10, 13, 16, 19))
"""Steps to choose from: powers of two, so that p + h is exact for most p."""

SAFETY = 8.0
"""Both error terms are estimates of a size, not bounds: a derivation is called wrong when it is off by this many of them."""


@dataclass(frozen=True, slots=True)
class Difference:
    """∂Y/∂point by central differences, and how far off each entry may be. Both have the shape (M, *point.shape)."""

    jacobian: Tensor
    tolerance: Tensor
    step: float


def central_difference(problem: Problem, name: str, floor: Tensor, step: float) -> Difference:
    """Every entry of ∂Y/∂point.

    Args:
        problem: the function.
        name: which of its points.
        floor: ε, the noise of each output, shape (M,).
        step: h, see `best_step`.
    """
    point = problem.points[name]
    narrow, wide = by_columns(lambda t: _two_widths(problem, name, t, step), point)
    jacobian, error = _extrapolate(narrow, wide)
    noise = (1.5 / step * floor).reshape(-1, *[1] * point.ndim)
    return Difference(jacobian, SAFETY * (noise + error), step)


def best_step(problem: Problem, name: str, floor: Tensor, seed: int) -> float:
    """The step with the smallest sum of truncation error and noise, on eight entries chosen at random."""
    generator = torch.Generator().manual_seed(seed)
    point = problem.points[name]
    entries = torch.randperm(point.numel(), generator=generator)[:8]
    directions = torch.zeros(len(entries), point.numel(), dtype=point.dtype)
    directions[torch.arange(len(entries)), entries] = 1
    directions = directions.reshape(len(entries), *point.shape)

    def error(step: float) -> float:
        with torch.no_grad():
            narrow, wide = vmap(lambda t: _two_widths(problem, name, t, step))(directions).unbind(1)
        truncation = _extrapolate(narrow, wide)[1]
        return float((truncation + 1.5 / step * floor).max())

    return min(STEPS, key=error)


def is_constant(problem: Problem, name: str, floor: Tensor, seed: int) -> bool:
    """Whether Y stays the same, up to its noise, when the point moves far (an eighth of a unit) in random directions.

    A gradient too small to be measured still moves Y then; one that is truly zero does not.
    """
    generator = torch.Generator().manual_seed(seed)
    point = problem.points[name]
    for _ in range(8):
        sign = torch.randint(0, 2, point.shape, generator=generator, dtype=point.dtype) * 2 - 1
        with torch.no_grad():
            moved = (problem.along(name, point + sign / 8) - problem.y).abs()
        if (moved > SAFETY * floor).any():
            return False
    return True


def _two_widths(problem: Problem, name: str, t: Tensor, step: float) -> Tensor:
    """D(h) and D(2h) along t, shape (2, M)."""
    point = problem.points[name]
    widths = [
        (problem.along(name, point + h * t) - problem.along(name, point - h * t)) / (2 * h) for h in (step, 2 * step)
    ]
    return torch.stack(widths)


def _extrapolate(narrow: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
    """D and the size of the truncation error left in it."""
    jacobian = (4 * narrow - wide) / 3
    second_order = (narrow - wide).abs() / 3
    scale = jacobian.abs().max().clamp(min=torch.finfo(jacobian.dtype).tiny) if jacobian.numel() else 1.0
    return jacobian, second_order * (second_order / scale).clamp(max=1.0)
