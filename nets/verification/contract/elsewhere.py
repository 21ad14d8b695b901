"""The gradient must be right at other points as well, to which the module is called after this one.

What a `Function` keeps from its very first call, on its class, in a global dict or in a cache by the shape of its input, is right
at the point of that call and nowhere else. Every other look at the gradient is taken at that point.
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
from nets.text import told_apart
from nets.verification.attempt import quiet
from nets.verification.derivations.slopes import SAFETY
from nets.verification.problem.graph import pull_back
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import signed, stream

Move = Callable[[Tensor, torch.Generator], Tensor]
"""A point from another one."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Σ_p G_p·t_p as the gradient and as differences have it, how far off the latter may be, and the steepest slope to one side."""

    told: float
    measured: float
    error: float
    steepest: float

    @property
    def settled(self) -> bool:
        """Whether the differences would show a gradient that is off by VISIBLE. Beside one that is zero they are rounding noise."""
        size = max(abs(self.told), abs(self.measured))
        return self.error <= VISIBLE * size and size > ZERO * self.steepest

    @property
    def off(self) -> bool:
        return self.settled and abs(self.told - self.measured) > 2 * VISIBLE * max(abs(self.told), abs(self.measured))


STEPS = (2.0**-10, 2.0**-13, 2.0**-16)
"""In units of the largest number of a point. Each is an eighth of the one before."""

ALL = "all points"

VISIBLE = 1e-3
"""The part of the slope by which the gradient must be off."""

ZERO = 1e-6
"""The part of the steepest slope up to which a slope is zero but for rounding."""


def check_elsewhere(problem: Problem, intended: Collection[str] = ()) -> list[Check]:
    """A failed check where the gradient is wrong at two points at which every number is up to a tenth larger, or at two at which
    the samples of each tensor have changed places; none if it is right.

    It is held against one difference along a random direction of all points together, Σ_p G_p·t_p, so that only faults of a
    thousandth are seen. Nothing is said where such a difference does not bear out the gradient at the point itself, which is known
    to be right, where there is a kink nearby, or where the differences do not settle.
    """
    names = [name for name in problem.points if name not in intended]
    try:
        with quiet():
            here = _along(problem, names, problem.gradient)
            if here.off or not here.settled:
                return []
            found = _twice(problem, names, _larger) or _twice(problem, names, _rolled)
    except Exception:  # the module does not take the other point, or has no graph there
        return []
    if found is None:
        return []
    name, slope = found
    gives, right = told_apart(slope.told, slope.measured)
    why = Reason.KEPT_FROM_AN_EARLIER_CALL.because(name=name, gives=gives, right=right)
    point = "all" if name == ALL else name
    return [Check.without_entry(point, Method.REVERSE_MODE, Method.ITSELF, Verdict.FAIL, why)]


def _twice(problem: Problem, names: list[str], move: Move) -> tuple[str, Slope] | None:
    """What is off at one point, if it is at another one as well: one alone may lie beside a kink."""
    first = _elsewhere(problem, names, move, "1")
    return first if first is not None and _elsewhere(problem, names, move, "2") is not None else None


def _elsewhere(problem: Problem, names: list[str], move: Move, which: str) -> tuple[str, Slope] | None:
    """What the gradient and differences give at another point, for the first of the names for which they differ; None where they
    do not."""
    with problem.put_back() as here:
        for name, point in problem.points.items():
            point.copy_(move(here[name], stream(problem.seed, "elsewhere", which, name)))
        y, leaves = problem.record()
        gradients = pull_back(y, problem.cotangent, leaves)
        together = _along(problem, names, gradients)
        if not together.off:
            return None
        alone = ((name, _along(problem, [name], gradients)) for name in names)
        return next(((name, found) for name, found in alone if found.off), (ALL, together))


def _along(problem: Problem, names: list[str], gradients: Mapping[str, Tensor]) -> Slope:
    """Σ_p G_p·t_p by the gradient and by differences."""
    ways = {name: _way(problem, name) for name in names}
    told = sum(float((gradients[name] * way).sum()) for name, way in ways.items())
    values = {}
    with problem.put_back(*names) as here:
        for step in (0.0, *STEPS, *(-step for step in STEPS)):
            for name, way in ways.items():
                problem.points[name].copy_(here[name] + step * way)
            values[step] = problem.evaluate()
    slopes = [float(problem.cotangent @ (values[h] - values[-h])) / (2 * h) for h in STEPS]
    gaps = [abs(float(problem.cotangent @ (values[h] - 2 * values[0.0] + values[-h]))) / h for h in STEPS]
    noise = 128 * float((problem.cotangent.abs() * problem.unit) @ values[0.0].abs()) / STEPS[-1]
    # Each is off by h² times what all have in common.
    wide, narrow = ((64 * fine - coarse) / 63 for coarse, fine in pairwise(slopes))
    bent = gaps[-1] > gaps[-2] / 2 + noise  # of a smooth function an eighth is left
    error = math.inf if bent else SAFETY * abs(wide - narrow) + noise
    steepest = max(abs(float(problem.cotangent @ (values[h] - values[0.0])) / h) for h in values if h)
    return Slope(told, narrow, error, steepest)


def _way(problem: Problem, name: str) -> Tensor:
    """A random direction, of the size of the point."""
    point = problem.points[name]
    t = signed(point.numel(), stream(problem.seed, "direction elsewhere", name)).to(point.dtype).view(point.shape)
    return t * (largest(point) or 1.0)


def _larger(point: Tensor, generator: torch.Generator) -> Tensor:
    """All numbers times the same factor between 1.05 and 1.1: what is symmetric, or positive definite, stays so."""
    return point * float(1.05 + 0.05 * torch.rand((), generator=generator))


def _rolled(point: Tensor, generator: torch.Generator) -> Tensor:
    """The numbers moved along the first axis; those of a square matrix stay, since it may have to be symmetric."""
    if point.ndim > 1 and point.shape[0] == point.shape[1]:
        return point
    return point.roll(int(torch.randint(1, max(2, len(point)), (), generator=generator)), 0) if point.ndim else point
