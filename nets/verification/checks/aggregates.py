"""The gradient of a module in low precision, checked in sums over whole parameters, rows and columns."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nets.text import rounded_up
from nets.verification.noise.low_precision import Noisy
from nets.verification.noise.rounding import ROUNDING_SAFETY, StochasticRounding
from nets.verification.noise.slices import RUNS, SLICE_RUNS, Slice, Sums, slices, summed
from nets.verification.problem.graph import pull_back
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import signed, stream

RANDOM_COTANGENTS = 16
"""The number of random cotangents v for which vᵀ(∂Y/∂p) is computed. No entry of v is zero, so each involves every row
of a parameter."""

Gradients = dict[str, Tensor]
"""Point → G_c = v_cᵀ(∂Y/∂point) for each cotangent v_c, in float64, shape (C, *point.shape)."""


class WrongSlice(NamedTuple):
    """A slice with a wrong sum.

    Attributes:
        slice: which.
        relative: the tolerance of an entry of a right sum, in parts of the slice's root mean square.
        words: what is wrong with it.
    """

    slice: Slice
    relative: float
    words: str


@dataclass(frozen=True, slots=True)
class Power:
    """The smallest faults that the sums over the slices of one point would have shown.

    Attributes:
        scale: the smallest wrong scale of the whole; infinite if there is no gradient.
        slice: the smallest wrong scale of any one slice, of those in which a zero would be seen.
        unknown: the number of slices that could be zero without being noticed.
        share: the part of the sum of squares of the gradient that lies in these slices.
        zero: whether one of these is zero, which may come from rounding.
    """

    scale: float
    slice: float
    unknown: int
    share: float
    zero: bool


class Aggregates:
    """The gradients of random sums of the outputs, by every point, against those of the copy in float64.

    Args:
        low: the module in its own precision.
        double: its copy in float64.
        noisy: where the noise of that precision is measured.
        dtype: that precision.
    """

    def __init__(self, low: Problem, double: Problem, noisy: Noisy, dtype: torch.dtype) -> None:
        seed = double.seed
        drawn = signed(RANDOM_COTANGENTS * len(low.y), stream(seed, "cotangents in low precision"))
        # Rounded, so that they are the same in bfloat16, float16 and float64.
        self._v = drawn.to(torch.bfloat16).to(torch.float64).reshape(RANDOM_COTANGENTS, -1)
        self._noisy, self._generator = noisy, stream(seed, "noise in low precision")
        self._actual, expected = self._gradients(low), self._gradients(double)
        with StochasticRounding(self._generator):
            exact = self._gradients(double)
        noise = {name: summed((exact[name] - e).square()).sqrt() for name, e in expected.items()}
        self._sums = {name: Sums(e, ROUNDING_SAFETY * noise[name], dtype) for name, e in expected.items()}
        self._still = expected if noisy.problem is double else self._gradients(noisy.problem)
        self._run(RUNS)
        if any(self._excess(name, self._actual[name] - expected[name]).max() > 1 for name in expected):
            self._run(SLICE_RUNS)

    def zero(self, name: str) -> bool:
        """Whether the whole gradient is expected to be rounding noise."""
        return not bool(self._sums[name].alive[0])

    def finite(self, name: str) -> bool:
        """Whether the gradients of these random sums of the outputs are finite."""
        return bool(torch.isfinite(self._actual[name]).all())

    def wrong(self, name: str) -> WrongSlice | None:
        """The slice with the largest error in units of its tolerance; None if no sum is wrong. It is the whole gradient
        if a wrong scale of the whole explains every wrong sum."""
        actual, sums = self._actual[name], self._sums[name]
        excess = self._excess(name, actual - sums.expected)
        if not (excess > 1).any() or not self.finite(name):
            return None
        scaled = (1 + self._found(name)[0, 0]) * sums.expected
        common = excess[0, 0] > 1 and not (self._excess(name, actual - scaled) > 1).any()
        which = 0 if common else int(excess.amax(0).argmax())
        part = slices(tuple(sums.expected.shape[1:]))[which]
        scale, rest = self._found(name)[:, which].tolist()
        allowed = sums.tolerance[:, which].tolist()
        if not sums.alive[which]:
            return WrongSlice(
                part, allowed[1], f"{part.of(name)} should be zero, and rounding does not explain what it is"
            )
        if excess[0, which] > 1:
            times = f"{round(1 + scale, 9):.3g} times what it should be, give or take {rounded_up(allowed[0])}"
            return WrongSlice(part, allowed[0], f"summed over its entries, {part.of(name)} is {times}")
        much = f"{rest:.3g} of its norm, where rounding explains {rounded_up(allowed[1])}"
        return WrongSlice(part, allowed[1], f"{part.of(name)} is off by {much}")

    def power(self, name: str) -> Power:
        """The smallest faults that would have been seen: those that move a sum from its present value beyond its
        tolerance."""
        sums = self._sums[name]
        seen, rest = self._found(name).abs() + sums.tolerance
        alive, squares = sums.alive, sums.size.square()
        # A zeroed slice changes the sum over the whole gradient as well.
        share = squares / squares[0].clamp(min=1e-300)
        whole = (share >= seen[0]) | (share.sqrt() >= rest[0])
        unknown = alive & (seen >= 1) & ~whole
        arrived = summed(self._actual[name].square()) > 0
        known = seen[alive & (seen < 1)]
        return Power(
            scale=float(seen[0]) if alive[0] else torch.inf,
            slice=float(known.max()) if len(known) else torch.inf,
            unknown=int(unknown.sum()),
            share=float(share[unknown].sum()),
            zero=bool((unknown & ~arrived).any()),
        )

    def _gradients(self, problem: Problem) -> Gradients:
        y, leaves = problem.record()
        found = [pull_back(y, v.to(y.dtype), leaves) for v in self._v]
        return {name: torch.stack([gradient[name] for gradient in found]).to(torch.float64) for name in found[0]}

    def _run(self, times: int) -> None:
        for _ in range(times):
            with self._noisy.rounding(self._generator):
                moved = self._gradients(self._noisy.problem)
            for name, sums in self._sums.items():
                sums.add(torch.nan_to_num(moved[name] - self._still[name]))

    def _found(self, name: str) -> Tensor:
        return self._sums[name].of(self._actual[name] - self._sums[name].expected)

    def _excess(self, name: str, off: Tensor) -> Tensor:
        """Scale and remainder of an error, in units of their tolerances, shape (2, S)."""
        found = self._sums[name].of(off).abs()
        excess = found / self._sums[name].tolerance
        return torch.where(found > 0, excess.nan_to_num(nan=torch.inf), 0.0)
