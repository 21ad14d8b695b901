"""One factor for all entries: zero, a sign, an average in the place of a sum."""

import torch

from nets.records.reason import Finding, Reason
from nets.text import distinct_from_one
from nets.verification.fault_patterns.fault import ALIKE, Fault
from nets.verification.problem.problem import Problem


def zero(fault: Fault) -> Finding | None:
    """No gradient at all."""
    return Reason.NO_GRADIENT.because() if not fault.actual.any() and fault.expected.any() else None


def scaled(fault: Fault) -> Finding | None:
    """One factor, and what it may come from."""
    factor = _least_squares_factor(fault)
    off, slack = (fault.actual - factor * fault.expected).abs(), min(ALIKE, abs(factor - 1) / 100)
    # The factor must explain the entries that count as right too, within the tolerance.
    if factor == 0 or bool((off > fault.tolerance + slack * (factor * fault.expected).abs()).any()):
        return None
    # The factor is as accurate as the most accurate entry.
    accuracy = float((fault.tolerance / fault.expected.abs())[fault.wrong].min())
    if abs(factor - 1) <= accuracy or distinct_from_one(factor) == "1":
        return None
    return named_factor(fault.problem, fault.name, factor, ALIKE + accuracy)


def named_factor(problem: Problem, name: str, factor: float, accuracy: float) -> Finding:
    """What a factor that is neither 0 nor 1 may come from."""
    if abs(factor + 1) < accuracy:
        return Reason.WRONG_SIGN.because()
    return _counted(problem, name, factor, accuracy) or Reason.CONSTANT_FACTOR.because(factor=distinct_from_one(factor))


def _counted(problem: Problem, name: str, factor: float, accuracy: float) -> Finding | None:
    """A factor that is the number of samples or the size of an axis, or its inverse: a sum for an average, or the
    reverse."""
    samples = problem.samples
    if samples == 2 and abs(2 * factor - 1) < accuracy:
        # With two samples, a half need not come from an average.
        return Reason.HALF_OF_TWO.because()
    if samples > 2 and abs(factor * samples - 1) < accuracy:
        return Reason.AVERAGED_OVER_THE_BATCH.because(samples=samples)
    if samples > 2 and abs(factor / samples - 1) < accuracy:
        return Reason.SUMMED_OVER_THE_BATCH.because(samples=samples)
    for axis, size in _axes(problem, name):
        if size > 2 and abs(factor * size - 1) < accuracy:
            return Reason.AVERAGED_OVER_AN_AXIS.because(size=size, axis=axis)
        if size > 2 and abs(factor / size - 1) < accuracy:
            return Reason.SUMMED_OVER_AN_AXIS.because(size=size, axis=axis)
    return None


def _axes(problem: Problem, name: str) -> list[tuple[str, int]]:
    """The axes that may have been summed over, with their sizes: those of the point, the inputs and the outputs.

    Then all the numbers of one of these together.
    """
    shapes = {name: tuple(problem.points[name].shape)} | problem.shapes()
    named = [(f"axis {axis} of {tensor}", size) for tensor, shape in shapes.items() for axis, size in enumerate(shape)]
    return [
        *named,
        *((f"all of {tensor}", torch.Size(shape).numel()) for tensor, shape in shapes.items() if len(shape) > 1),
    ]


def _least_squares_factor(fault: Fault) -> float:
    """The factor between the wrong entries and the right ones, by least squares."""
    expected = fault.expected[fault.wrong]
    return float((fault.actual[fault.wrong] * expected).sum() / expected.square().sum().clamp(min=1e-300))
