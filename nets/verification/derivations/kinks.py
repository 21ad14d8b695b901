"""Points at which there is no derivative: the slopes to the two sides stay apart however small the step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nets.verification.derivations.slopes import SAFETY, Slopes, slopes_along
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

BENT = 1e-2
"""The part of the larger of the slopes to the right and to the left by which they differ where a kink is looked for."""

CLOSER = tuple(2.0**-k for k in (14, 18, 22, 26, 30, 34, 38, 42))
"""Steps, in units of the point's size, at which a kink still is one."""

CLOSEST = tuple(2.0**-k for k in (2, 6, 10))
"""Further steps for a number so small that the others reach beyond zero, in units of that number."""


def kink(problem: Problem, name: str, entry: int, floor: Tensor) -> Tensor:
    """Where f has no derivative by one entry of a point: the slopes to the right and to the left stay apart as the step shrinks,
    down to where noise hides it. For a smooth f they differ by h f″. Shape (M,)."""
    point = problem.points[name].view(-1)
    steps = closer(abs(float(point[entry])))
    found = [slopes_along(problem, point[entry], h) for h in steps[:2]]
    if not (_shown(found, floor, steps) | _slow([slopes.gap.abs() for slopes in found], floor, steps)).any():
        return torch.zeros_like(floor, dtype=torch.bool)
    found += [slopes_along(problem, point[entry], h) for h in steps[2:]]
    return _shown(found, floor, steps)


def closer(here: float) -> list[float]:
    """The steps at which a kink is looked for at a number of that size, largest first."""
    steps = [max(here, 1.0) * h for h in CLOSER]
    return steps + [here * h for h in CLOSEST if 0 < here * h < steps[-1]]


def crooked(problem: Problem, name: str, jacobian: Tensor, floor: Tensor, seed: int) -> Tensor:
    """Where f has derivatives along the axes, the jacobian, and yet none: along a random direction t its slope is not
    Σ_p ∂Y/∂p t_p, however small the step. So it is with a median of equal numbers. Shape (M,)."""
    point, generator = problem.points[name].view(-1), stream(seed, "crooked", name)
    t = torch.rand(len(point), generator=generator, dtype=torch.float64).to(point.dtype) - 0.5
    straight, size = jacobian @ t, jacobian.abs() @ t.abs()
    slopes = [slopes_along(problem, point, h, t) for h in CLOSER]
    apart = [(slope.central - straight).abs() for slope in slopes]
    # An even function, such as the least of |X_i| at zero, has the slope 0 to both sides of every axis; along t it is bent.
    gaps = [slope.gap.abs() for slope in slopes]
    return (_stays(apart, floor, CLOSER) & (apart[0] > BENT * size)) | (_stays(gaps, floor, CLOSER) & (gaps[0] > BENT * size))


def _shown(found: list[Slopes], floor: Tensor, steps: Sequence[float]) -> Tensor:
    """Whether slopes at the first of these steps show a kink or a jump. Shape (M,)."""
    # Of a jump to both sides alike, as that of the sign at 0, the slopes are the same and grow as 1/h.
    heights = torch.stack([slopes.central.abs() * h for slopes, h in zip(found, steps, strict=False)])
    jump = _level(heights, (4 * SAFETY * floor).expand_as(heights), 0.01)
    return jump | _stays([slopes.gap.abs() for slopes in found], floor, steps)


def _stays(gaps: list[Tensor], floor: Tensor, tried: Sequence[float]) -> Tensor:
    """Whether the gap between the slopes is the same at every step, as at a kink, or goes with 1/h, as at a jump. Shape (M,)."""
    steps = torch.tensor(tried[: len(gaps)], dtype=floor.dtype)[:, None]
    sizes, noise = torch.stack(gaps), 4 * SAFETY * floor / steps
    return _level(sizes, noise, 1.0) | _level(sizes * steps, noise * steps, 0.01)


def _slow(gaps: list[Tensor], floor: Tensor, steps: Sequence[float]) -> Tensor:
    """Whether the gap shrinks by much less than the step from the first step to the second: one of several kinks may lie between
    the two steps, and another at the point. Shape (M,)."""
    clear = gaps[1] > 4 * SAFETY * floor / steps[1]
    return clear & (gaps[1] > (steps[1] / steps[0]) ** 0.5 * gaps[0])


def _level(sizes: Tensor, noise: Tensor, octaves: float) -> Tensor:
    """Whether a size stays within so many powers of two from each step to the next, until noise hides it: from the first step on,
    twice at least, or from a later one on, three times at least, where a kink beside the point lies within the steps before."""
    clear = sizes > noise
    same = clear[1:] & ((sizes[1:] / sizes[:-1]).log2().abs() < octaves)
    hidden = ~clear[1:] & (noise[1:] > sizes[:-1] / 2)
    onward = (same | hidden).int().flip(0).cumprod(0).flip(0).bool()
    found = clear[0] & same[0] & onward[0]
    for first in range(1, len(same) - 2):
        found = found | (clear[first] & same[first : first + 3].all(0) & onward[first])
    return found
