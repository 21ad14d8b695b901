"""One probe: the number vᵀ(∂Y/∂p) t by the backward pass and by differences, and the moves of the point that measure
it."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

Move = tuple[slice, Tensor, float]
"""The range of entries that moves, the direction t, and h: the point moves to p + h t and to p − h t."""


class Slope(NamedTuple):
    """Slopes of f = vᵀY along a move: (f(p + h t) − f(p − h t)) / 2h, the gap (f(p + h t) − 2 f(p) + f(p − h t)) / h,
    and h."""

    mean: float
    bend: float
    step: float


@dataclass(frozen=True, slots=True)
class Probe:
    """vᵀ(∂Y/∂p) t by the backward pass and by differences.

    Attributes:
        entries: the range of entries of the flattened point that the direction moves.
        direction: t, of the same length.
        actual: by the backward pass.
        expected: by differences.
        tolerance: the largest difference of the two that rounding and truncation explain.
        reach: h ‖t‖, how far the point was moved for the difference.
        truncation: the error of the difference besides rounding, measured here or along another direction.
        kinked: whether the difference of the slopes to the two sides does not vanish as the step shrinks.
    """

    entries: slice
    direction: Tensor
    actual: float
    expected: float
    tolerance: float
    reach: float
    truncation: float
    kinked: bool

    @property
    def bound(self) -> float:
        """The smallest error of the gradient along t that would have been seen for certain."""
        return self.tolerance + abs(self.actual - self.expected)

    @property
    def excess(self) -> float:
        """|actual − expected| in units of the tolerance; infinite if one of the two is NaN."""
        excess = abs(self.actual - self.expected) / self.tolerance
        return math.inf if math.isnan(excess) else excess


def same_slope(one: Probe, other: Probe) -> bool:
    """Whether differences at two reaches agree: then neither has crossed a kink."""
    return abs(one.expected - other.expected) <= one.tolerance + other.tolerance


def moves_of(parts: list[tuple[slice, Tensor]], reach: float) -> list[Move]:
    """Each part moves as far as the reach."""
    return [(entries, t, reach / length(t)) for entries, t in parts]


def doubled(entries: slice, t: Tensor, reach: float) -> list[Move]:
    """A part moves as far as the reach, and twice as far."""
    h = reach / length(t)
    return [(entries, t, h), (entries, t, 2 * h)]


def length(vector: Tensor) -> float:
    """‖vector‖, by the function that `Tensor.norm` calls, several times as fast as that."""
    return float(torch.linalg.vector_norm(vector))


def split(entries: slice, parts: int, width: int = 1) -> list[slice]:
    """A range in parts of about the same length, each a whole number of rows of that width."""
    rows = (entries.stop - entries.start) // width
    marks = [entries.start + width * (rows * part // parts) for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(marks)]
