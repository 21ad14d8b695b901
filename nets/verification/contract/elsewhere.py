"""The gradient must also be right at points at which the module is called later.

A `Function` may keep something from its first call, on its class, in a global dict or in a cache keyed by the shape of
its input. It is right at the point of that call only, which is the point of all other checks.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import distinct_digits
from nets.verification.attempt import attempt
from nets.verification.derivations.slopes import DIFFERENCE_SAFETY
from nets.verification.problem.graph import pull_back
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import signed, stream

OtherPoint = Callable[[Tensor, torch.Generator], Tensor]
"""Makes another point from a point."""

SLOPE_STEPS = (2.0**-10, 2.0**-13, 2.0**-16)
"""Steps of differences, relative to the largest number of a point. Each is an eighth of the one before."""

ALL = "all points"

VISIBLE = 1e-3
"""An error of the gradient is found if it is more than this part of the slope."""

ZERO_SLOPE = 1e-6
"""A slope below this part of the steepest one-sided slope is zero up to rounding."""


@dataclass(frozen=True, slots=True)
class ComparedSlope:
    """The slope of vᵀY along a direction t of some points.

    Attributes:
        by_gradient: Σ_p G_p·t_p.
        by_difference: the central difference, extrapolated.
        error: a bound on the error of the difference.
        steepest: the largest one-sided difference quotient.
    """

    by_gradient: float
    by_difference: float
    error: float
    steepest: float

    @property
    def precise(self) -> bool:
        """Whether the difference would show a gradient that is off by VISIBLE. It does not where the slope itself is
        zero, since the difference is then rounding noise."""
        size = max(abs(self.by_gradient), abs(self.by_difference))
        return self.error <= VISIBLE * size and size > ZERO_SLOPE * self.steepest

    @property
    def wrong(self) -> bool:
        """Whether the gradient is wrong."""
        size = max(abs(self.by_gradient), abs(self.by_difference))
        return self.precise and abs(self.by_gradient - self.by_difference) > 2 * VISIBLE * size


def check_elsewhere(problem: Problem, intended: Collection[str] = ()) -> list[Check]:
    """A failed check where the gradient is wrong at two points at which every number is up to a tenth larger, or at two
    at which the samples of each tensor have changed places; none otherwise.

    The gradient is compared with one difference along a random direction of all points together, so only faults above a
    thousandth are found. Nothing is reported where such a difference contradicts the gradient at the original point,
    which is known to be right, where there is a kink nearby, or where the differences do not converge.

    Args:
        intended: points whose gradient is meant to differ from the derivative.
    """
    names = [name for name in problem.points if name not in intended]
    # None also where the module cannot be called at the other point, or has no graph there.
    found = attempt(lambda: _wrong_elsewhere(problem, names)).or_none()
    if found is None:
        return []
    name, slope = found
    gives, right = distinct_digits(slope.by_gradient, slope.by_difference)
    reason = Reason.KEPT_FROM_AN_EARLIER_CALL.because(name=name, gives=gives, right=right)
    point = "all" if name == ALL else name
    return [Check.without_entry(point, Method.REVERSE_MODE, Method.ITSELF, Verdict.FAIL, reason)]


def _wrong_elsewhere(problem: Problem, names: list[str]) -> tuple[str, ComparedSlope] | None:
    here = _slope(problem, names, problem.gradient)
    if here.wrong or not here.precise:
        return None
    return _wrong_twice(problem, names, _larger) or _wrong_twice(problem, names, _rolled)


def _wrong_twice(problem: Problem, names: list[str], move: OtherPoint) -> tuple[str, ComparedSlope] | None:
    """The fault at one other point, if there is a fault at a second point too: a single point may be near a kink."""
    first = _wrong_at(problem, names, move, "1")
    return first if first is not None and _wrong_at(problem, names, move, "2") is not None else None


def _wrong_at(problem: Problem, names: list[str], move: OtherPoint, which: str) -> tuple[str, ComparedSlope] | None:
    """The first of the names whose gradient is wrong at another point, and the slopes there; None where all are
    right."""
    with problem.put_back() as here:
        for name, point in problem.points.items():
            point.copy_(move(here[name], stream(problem.seed, "elsewhere", which, name)))
        y, leaves = problem.record()
        gradients = pull_back(y, problem.cotangent, leaves)
        together = _slope(problem, names, gradients)
        if not together.wrong:
            return None
        alone = ((name, _slope(problem, [name], gradients)) for name in names)
        return next(((name, found) for name, found in alone if found.wrong), (ALL, together))


def _slope(problem: Problem, names: list[str], gradients: Mapping[str, Tensor]) -> ComparedSlope:
    """The slope along a random direction of the named points, by the gradient and by differences."""
    directions = {name: _direction(problem, name) for name in names}
    by_gradient = sum(float((gradients[name] * t).sum()) for name, t in directions.items())
    values = {}
    with problem.put_back(*names) as here:
        for step in (0.0, *SLOPE_STEPS, *(-step for step in SLOPE_STEPS)):
            for name, t in directions.items():
                torch.add(here[name], t, alpha=step, out=problem.points[name])
            values[step] = problem.evaluate()
    slopes = [float(problem.cotangent @ (values[h] - values[-h])) / (2 * h) for h in SLOPE_STEPS]
    gaps = [abs(float(problem.cotangent @ (values[h] - 2 * values[0.0] + values[-h]))) / h for h in SLOPE_STEPS]
    noise = 128 * float((problem.cotangent.abs() * problem.unit) @ values[0.0].abs()) / SLOPE_STEPS[-1]
    # The error of each difference is h² times a common constant, which the extrapolation removes.
    wide, narrow = ((64 * fine - coarse) / 63 for coarse, fine in pairwise(slopes))
    kinked = gaps[-1] > gaps[-2] / 2 + noise  # for a smooth function an eighth of the gap is left
    error = math.inf if kinked else DIFFERENCE_SAFETY * abs(wide - narrow) + noise
    steepest = max(abs(float(problem.cotangent @ (values[h] - values[0.0])) / h) for h in values if h)
    return ComparedSlope(by_gradient, narrow, error, steepest)


def _direction(problem: Problem, name: str) -> Tensor:
    """A random direction, of the size of the point."""
    point = problem.points[name]
    t = signed(point.numel(), stream(problem.seed, "direction elsewhere", name)).to(point.dtype).view(point.shape)
    return t * (largest(point) or 1.0)


def _larger(point: Tensor, generator: torch.Generator) -> Tensor:
    """All numbers times the same factor between 1.05 and 1.1, which keeps a matrix symmetric or positive definite."""
    return point * float(1.05 + 0.05 * torch.rand((), generator=generator))


def _rolled(point: Tensor, generator: torch.Generator) -> Tensor:
    """The numbers rolled along the first axis; a square matrix as it is, since it may have to be symmetric."""
    if point.ndim > 1 and point.shape[0] == point.shape[1]:
        return point
    return point.roll(int(torch.randint(1, max(2, len(point)), (), generator=generator)), 0) if point.ndim else point
