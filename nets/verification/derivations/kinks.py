"""Points without a derivative: the difference of the slopes to the two sides does not vanish as the step shrinks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nets.verification.derivations.slopes import DIFFERENCE_SAFETY, Slopes, slopes_along
from nets.verification.derivations.variable import Variable

BENT = 1e-2
"""A kink is looked for where the two slopes differ by more than this part of the larger one."""

KINK_STEPS = tuple(2.0**-k for k in (14, 18, 22, 26, 30, 34, 38, 42))
"""Steps, in units of the point's size, at which the gap between the two slopes is measured."""

FINE_KINK_STEPS = tuple(2.0**-k for k in (2, 6, 10))
"""Further steps, in units of the number itself, if it is so small that the other steps reach across zero."""


def kink(variable: Variable, entry: int) -> Tensor:
    """Which outputs have no derivative by one number of a point, shape (M,).

    At a kink the gap between the slopes to the two sides does not shrink with the step, until noise hides it. For a
    smooth f the gap is h f″.
    """
    floor, steps = variable.floor, kink_steps(variable.size(entry))
    found = [variable.slopes(entry, h) for h in steps[:2]]
    if not (_has_kink(found, floor, steps) | _shrinks_slowly([s.gap.abs() for s in found], floor, steps)).any():
        return torch.zeros_like(floor, dtype=torch.bool)
    found += [variable.slopes(entry, h) for h in steps[2:]]
    return _has_kink(found, floor, steps)


def kink_steps(size: float) -> list[float]:
    """The steps for a number of that size, largest first."""
    steps = [max(size, 1.0) * h for h in KINK_STEPS]
    return steps + [size * h for h in FINE_KINK_STEPS if 0 < size * h < steps[-1]]


def kink_off_the_axes(variable: Variable, jacobian: Tensor) -> Tensor:
    """Which outputs have a derivative along each axis, the entries of the jacobian, and are still not differentiable,
    shape (M,).

    Along a random direction t their slope is not Σ_p ∂Y/∂p t_p, however small the step. A median of equal numbers is
    such an output.
    """
    problem, point, floor = variable.problem, variable.values, variable.floor
    t = torch.rand(len(point), generator=variable.stream("crooked"), dtype=torch.float64).to(point.dtype) - 0.5
    linear, size = jacobian @ t, jacobian.abs() @ t.abs()
    slopes = [slopes_along(problem, point, h, t) for h in KINK_STEPS]
    errors = [(slope.central - linear).abs() for slope in slopes]
    # An even function, such as min |X_i| at zero, has the slope 0 to both sides along every axis, and a kink along t.
    gaps = [slope.gap.abs() for slope in slopes]
    return (_stays(errors, floor, KINK_STEPS) & (errors[0] > BENT * size)) | (
        _stays(gaps, floor, KINK_STEPS) & (gaps[0] > BENT * size)
    )


def _has_kink(found: list[Slopes], floor: Tensor, steps: Sequence[float]) -> Tensor:
    """Whether slopes at the first of these steps show a kink or a jump. Shape (M,)."""
    # A jump of the same size to both sides, such as that of sign at 0, has no gap; its slope is proportional to 1/h.
    heights = torch.stack([slopes.central.abs() * h for slopes, h in zip(found, steps, strict=False)])
    jump = _stays_level(heights, (4 * DIFFERENCE_SAFETY * floor).expand_as(heights), 0.01)
    return jump | _stays([slopes.gap.abs() for slopes in found], floor, steps)


def _stays(gaps: list[Tensor], floor: Tensor, tried: Sequence[float]) -> Tensor:
    """Whether a gap is the same at every step, as at a kink, or proportional to 1/h, as at a jump. Shape (M,)."""
    steps = torch.tensor(tried[: len(gaps)], dtype=floor.dtype)[:, None]
    sizes, noise = torch.stack(gaps), 4 * DIFFERENCE_SAFETY * floor / steps
    return _stays_level(sizes, noise, 1.0) | _stays_level(sizes * steps, noise * steps, 0.01)


def _shrinks_slowly(gaps: list[Tensor], floor: Tensor, steps: Sequence[float]) -> Tensor:
    """Whether the gap shrinks by much less than the step, from the first step to the second, shape (M,).

    Then one of several kinks may lie between the two steps, and another at the point.
    """
    clear = gaps[1] > 4 * DIFFERENCE_SAFETY * floor / steps[1]
    return clear & (gaps[1] > (steps[1] / steps[0]) ** 0.5 * gaps[0])


def _stays_level(sizes: Tensor, noise: Tensor, octaves: float) -> Tensor:
    """Whether a size changes by less than 2^octaves from each step to the next, until noise hides it. Shape (M,).

    From the first step on, two steps are enough. From a later step on it takes three: a kink at the point looks like
    this if another kink lies within the larger steps.
    """
    clear = sizes > noise
    same = clear[1:] & ((sizes[1:] / sizes[:-1]).log2().abs() < octaves)
    hidden = ~clear[1:] & (noise[1:] > sizes[:-1] / 2)
    onward = (same | hidden).int().flip(0).cumprod(0).flip(0).bool()
    found = clear[0] & same[0] & onward[0]
    for first in range(1, len(same) - 2):
        found = found | (clear[first] & same[first : first + 3].all(0) & onward[first])
    return found
