"""Sums over many entries of a gradient: over a whole parameter, a row, a column, and their noise.

The error of one entry of a gradient in bfloat16 may be as large as the entry. The errors of the entries of a row have
different signs, so their sum has far more correct digits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

RUNS = 8
"""Runs with stochastic rounding by which the noise of each sum is measured."""

SLICE_RUNS = 16
"""Further runs if a sum is wrong: rounding may switch a ReLU in some runs, and not in the first ones."""

SUM_SAFETY = 3.0
"""A sum may be off by this many root mean squares of its noise. Stochastic rounding moves each result by 0.745 eps,
about 3.6 times the root mean square error of rounding to nearest, so this is about eleven standard deviations of the
latter."""

RARE = 1.5
"""After the further runs, a sum may be off by this many times the largest deviation of all runs."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a point: the whole, or the entries that share one index.

    Attributes:
        axis: the axis of that index; None for the whole.
        index: the index.
    """

    axis: int | None = None
    index: int = 0

    def of(self, name: str) -> str:
        """The name of this part of the parameter `name`."""
        if self.axis is None:
            return f"the gradient by {name}"
        kind = {0: "row", 1: "column"}.get(self.axis)
        return f"{kind} {self.index} of {name}" if kind else f"slice {self.index} of {name} along axis {self.axis}"

    def mask(self, shape: tuple[int, ...]) -> Tensor:
        """Which of the P numbers of a point of that shape are in it, shape (P,)."""
        inside = torch.zeros(shape, dtype=torch.bool)
        (inside if self.axis is None else inside.select(self.axis, self.index)).fill_(True)
        return inside.reshape(-1)


def slices(shape: tuple[int, ...]) -> list[Slice]:
    """The whole, then each slice along each axis with more than one index: S slices."""
    return [Slice(), *(Slice(axis, i) for axis, size in enumerate(shape) if size > 1 for i in range(size))]


def summed(numbers: Tensor) -> Tensor:
    """The sums of numbers of shape (C, *shape) over each slice, in the order of `slices`. Shape (S,)."""
    return torch.cat(list(_sums(numbers)))


def _sums(numbers: Tensor) -> Iterator[Tensor]:
    yield numbers.sum().reshape(1)
    for axis in range(1, numbers.ndim):
        if numbers.shape[axis] > 1:
            yield numbers.sum([other for other in range(numbers.ndim) if other != axis])


@dataclass(slots=True)
class Sums:
    """The sums over each slice of one point, and their noise.

    With A_c and E_c the actual and the expected gradient of v_cᵀY for some cotangents v_c, and all sums over c and the
    entries of the slice:

        scale = Σ A_c E_c / Σ E_c² − 1        rest = √(Σ (A_c − E_c)² / Σ E_c²)

    A gradient multiplied by f has the scale f − 1, a zeroed slice has −1, and any other error shows in the rest. A
    slice without a gradient has the scale 0, and its rest is relative to the norm of the whole.

    Attributes:
        expected: E, shape (C, *shape).
        exact: a bound on √Σ (A_c − E_c)² of each slice in float64, shape (S,).
        dtype: the precision.
        size: √Σ E_c² of each slice, shape (S,).
    """

    expected: Tensor
    exact: Tensor
    dtype: torch.dtype
    size: Tensor = field(init=False)
    _runs: list[Tensor] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.size = summed(self.expected.square()).sqrt()

    @property
    def alive(self) -> Tensor:
        """Which slices have a gradient, shape (S,)."""
        return self.size > self.exact

    def of(self, off: Tensor) -> Tensor:
        """Scale and rest of each slice where A − E is `off`, shape (2, S)."""
        scale = torch.where(self.alive, summed(off * self.expected) / self.size.square(), 0.0)
        unit = torch.where(self.alive, self.size, self.size[0] if self.alive[0] else 1.0)
        return torch.stack([scale, summed(off.square()).sqrt() / unit])

    def add(self, off: Tensor) -> None:
        """Add the error of a run with stochastic rounding."""
        self._runs.append(self.of(off).abs())

    @property
    def tolerance(self) -> Tensor:
        """The largest error of scale and rest that rounding explains, shape (2, S): the noise of the runs, and a unit
        in the last place of each entry, all in the same direction."""
        seen = torch.stack(self._runs)
        noise = SUM_SAFETY * seen.square().mean(0).sqrt()
        noise = noise if len(seen) <= RUNS else torch.maximum(noise, RARE * seen.amax(0))
        return noise + self._unit()

    def _unit(self) -> Tensor:
        limits = torch.finfo(self.dtype)
        last = self.expected.abs().clamp(min=limits.smallest_normal) * limits.eps
        scale = torch.where(self.alive, summed(last * self.expected.abs()) / self.size.square(), 0.0)
        rest = torch.where(self.alive, self.of(last)[1], limits.eps if self.alive[0] else 0.0)
        return torch.stack([scale, rest])
