"""Mistakes that are found by trying them.

The backward pass or the module is run again as if the mistake had been made. The mistake is named only if the gradient
then fits to within the error of a difference.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from nets.records.reason import Finding, Reason
from nets.verification.attempt import attempt
from nets.verification.derivations.slopes import DIFFERENCE_SAFETY, slopes_along
from nets.verification.fault_patterns.fault import Fault
from nets.verification.fault_patterns.rerun import draws_again
from nets.verification.fault_patterns.surrogates import Surrogate, surrogates
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import signed, stream

MOVE_LENGTHS = tuple(2.0**-k for k in (14, 17, 11, 20, 8, 5, 2))
"""How far a point is moved along a direction of length one."""

PRECISE_SLOPE = 1e-7
"""With a smaller relative error of the slope, no other step is tried."""

SEVERAL_DIGITS = 16.0
"""The error of a sum over many operations, in units in the last place, if the rounding of only one operation is
known."""

_KNOWN: WeakKeyDictionary[Problem, dict[str, Finding | None]] = WeakKeyDictionary()
"""Results for each problem: one gradient is compared with several derivations."""


class MeasuredSlope(NamedTuple):
    """vᵀ(∂Y/∂p) t by differences, and its error."""

    value: float
    tolerance: float

    def fits(self, other: float) -> bool:
        return abs(self.value - other) <= self.tolerance


def found_by_experiment(fault: Fault) -> Finding | None:
    """The mistake that fits a fault of the module's own backward pass."""
    problem, name = fault.problem, fault.name
    gradient, judged = problem.gradient[name].reshape(-1), problem.cotangent.to(fault.actual.dtype) @ fault.actual
    # A closed form or another engine has no backward pass that could be run again.
    if bool(((gradient - judged).abs() > 1e-6 * judged.abs().max()).any()):
        return None
    return experiment(problem, name)


def experiment(problem: Problem, name: str) -> Finding | None:
    """The mistake that fits the gradient of vᵀY by the module's backward pass; None where none does."""
    known = _KNOWN.setdefault(problem, {})
    if name not in known:
        tried = attempt(lambda: drawn_again(problem) or _swapped(problem, name) or _surrogate(problem, name))
        known[name] = tried.or_none()
    return known[name]


def drawn_again(problem: Problem) -> Finding | None:
    """The backward pass draws random numbers of its own."""
    if draws_again(problem):
        return Reason.RANDOM_NUMBERS_DRAWN_AGAIN.because()
    return None


def _swapped(problem: Problem, name: str) -> Finding | None:
    """Two points of the same shape, each with the gradient of the other."""
    v, t = problem.cotangent, _direction(problem, name)
    for other, point in problem.points.items():
        if other == name or point.shape != problem.points[name].shape:
            continue
        own, its = (float(problem.gradient[p].reshape(-1) @ t) for p in (name, other))
        here = _slope(problem, name, v, t)
        if (
            here.fits(its)
            and not here.fits(own)
            and (there := _slope(problem, other, v, t)).fits(own)
            and not there.fits(its)
        ):
            first, second = (point for point in problem.points if point in (name, other))
            return Reason.SWAPPED.because(first=first, second=second)
    return None


def _surrogate(problem: Problem, name: str) -> Finding | None:
    """A function that was differentiated instead of the module: its slope equals the slope by the module's gradient."""
    v, t = problem.cotangent, _direction(problem, name)
    given = float(problem.gradient[name].reshape(-1) @ t)
    true = _slope(problem, name, v, t)
    for surrogate in surrogates(problem):
        slope = _slope(problem, name, v, t, surrogate)
        if slope.fits(given) and not true.fits(given) and slope.tolerance <= 1e-3 * abs(given - true.value):
            return (surrogate.reason_if_flat if true.fits(0.0) else surrogate.reason).because()
    return None


def _direction(problem: Problem, name: str) -> Tensor:
    """t, of length one."""
    t = signed(problem.points[name].numel(), stream(problem.seed, "experiment", name))
    return t / torch.linalg.vector_norm(t)


def _slope(problem: Problem, name: str, v: Tensor, t: Tensor, surrogate: Surrogate | None = None) -> MeasuredSlope:
    """The slope at the step with the smallest error."""
    point = problem.points[name].view(-1)
    inside: Callable[[], AbstractContextManager[object]] = nullcontext if surrogate is None else surrogate.active
    best = MeasuredSlope(math.nan, math.inf)
    with inside():
        for h in MOVE_LENGTHS:
            narrow, wide = (slopes_along(problem, point, step, t) for step in (h, 2 * h))
            rounding = SEVERAL_DIGITS * float(torch.linalg.vector_norm(v * torch.maximum(narrow.noise, wide.noise))) / h
            value, other = float(v @ narrow.central), float(v @ wide.central)
            # D(2h) − D(h) = 3 h² f‴/6
            tolerance = DIFFERENCE_SAFETY * (abs(other - value) / 3 + rounding)
            if tolerance < best.tolerance:
                best = MeasuredSlope(value, tolerance)
            if best.tolerance <= PRECISE_SLOPE * abs(best.value):
                break
    return best
