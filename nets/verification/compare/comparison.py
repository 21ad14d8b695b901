"""Compares two derivations of one Jacobian entry by entry: which entries are wrong, by how much, and which faults would
have been seen."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.reason import PASSED, Finding, Reason
from nets.records.verdict import Verdict
from nets.text import rounded_up
from nets.verification.compare.derivation import Derivation, common_tolerance
from nets.verification.derivations.domain import edge
from nets.verification.fault_patterns import mistake
from nets.verification.fault_patterns.fault import Fault
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest

POWER = 1e-3
"""A check has a verdict only if it would have seen a gradient with an error of a thousandth."""


def compare(
    problem: Problem,
    name: str,
    actual: Derivation,
    expected: Derivation,
    constant: bool,
    power: float = POWER,
    bound: float | None = None,
) -> Check:
    """Compare one derivation with another.

    Args:
        constant: whether Y is known not to depend on `name`, so that a gradient below the tolerance is right.
        power: the relative fault that must have been seen for a verdict.
        bound: the absolute bound on a gradient that is zero though Y depends on `name`; None where it is not zero.
    """
    a, e = actual.jacobian, expected.jacobian
    scale = largest(e)
    if expected.by_differences and not math.isfinite(scale):
        return _compare_inside_the_domain(problem, name, actual, expected)
    tolerance = common_tolerance(actual, expected).expand_as(e)
    # In place, since allocating memory of this size takes longer than the computation.
    excess = (a - e).abs_().div_(tolerance).nan_to_num_(nan=torch.inf)
    # A fault moves an entry from its present value, which may already differ from the expected one in the other
    # direction.
    certain = 1 + min(float(excess.max()), 1.0)
    kinked = expected.has_kink
    kinks = expected.kink if expected.kink is not None and kinked else torch.zeros((1, 1), dtype=torch.bool)
    wrong = (excess > 1) & ~kinks if kinked else excess > 1
    rounded = _rounding_noise(actual, expected, wrong)
    wrong = wrong & ~rounded
    fails = bool(wrong.any())
    # The entry to show: the wrong one with the largest error, else a kink, else the one with the largest error in units
    # of its tolerance.
    if fails:
        shown = torch.where(wrong, (a - e).abs_().nan_to_num_(nan=torch.inf), -1.0)
    else:
        shown = torch.where(kinks, excess, -1.0) if kinked else excess
    row, column = divmod(int(shown.argmax()), e.shape[1])
    detects = certain * float(torch.div(tolerance, e, out=excess).abs_().min()) if scale > 0 else math.inf
    # At a kink no entry can be wrong.
    widest = float(torch.where(kinks, 0.0, tolerance).max() if kinked else tolerance.max())
    single = certain * widest / scale if scale > 0 else math.inf
    if not fails and math.isinf(widest) and expected.by_differences:
        verdict, found = Verdict.INCONCLUSIVE, Reason.TURNS_WITHIN_THE_STEP.because()
    elif not fails and bool(rounded.any()):
        verdict, found = Verdict.INCONCLUSIVE, Reason.NO_LARGER_THAN_ROUNDING.because()
    else:
        verdict, found = _verdict(fails, kinked, detects, constant, power, bound)
    passed = verdict == Verdict.PASS
    known_zero = passed and (constant or bound is not None)
    check = Check.from_errors(
        name, actual.name, expected.name, a, e, tolerance, verdict, found,
        shown=row * e.shape[1] + column,
        wrong=int(wrong.sum()),
        scale=scale,
        detects=None if known_zero else detects,
        detects_entry=None if known_zero else single,
        bound=bound if passed else None,
        **problem.entry_index(name, row, column).fields(),
    )  # fmt: skip
    return check.looks_like(mistake(Fault(problem, name, a, e, wrong, tolerance))) if fails else check


def _verdict(
    fails: bool, kinked: bool, detects: float, constant: bool, power: float, bound: float | None
) -> tuple[Verdict, Finding]:
    if fails:
        return Verdict.FAIL, Reason.WRONG_DERIVATIVE.because()
    if kinked:
        return Verdict.INCONCLUSIVE, Reason.KINK.because()
    if constant:
        return Verdict.PASS, Reason.ZERO_EVERYWHERE.because(what="output")
    if bound is not None:
        return Verdict.PASS, Reason.ZERO_HERE.because(bound=rounded_up(bound))
    if detects > power:
        unseen = f"a fault below {detects:.1%}" if detects < 10 else "any fault"
        return Verdict.INCONCLUSIVE, Reason.TOO_SMALL.because(fault=unseen)
    return Verdict.PASS, PASSED


def _rounding_noise(actual: Derivation, expected: Derivation, wrong: Tensor) -> Tensor:
    """The wrong entries that are no larger than rounding noise, in rows that are zero by differences, here and
    nearby."""
    if not expected.by_differences or expected.nearby > 0 or not wrong.any():
        return torch.zeros_like(wrong)
    return wrong & expected.zero_rows() & ((actual.jacobian - expected.jacobian).abs() <= actual.tolerance)


def _compare_inside_the_domain(problem: Problem, name: str, actual: Derivation, expected: Derivation) -> Check:
    """The check if some differences are not finite: it shows a fault in the finite ones, or else why the others are not
    finite."""
    edges = ~torch.isfinite(expected.jacobian)
    ours, theirs = torch.where(edges, 0.0, actual.jacobian), torch.where(edges, 0.0, expected.jacobian)
    tolerance = torch.where(edges, 0.0, expected.tolerance.expand_as(theirs))
    inside = replace(actual, jacobian=ours), replace(expected, jacobian=theirs, tolerance=tolerance)
    seen = compare(problem, name, *inside, constant=False)
    if seen.verdict == Verdict.FAIL:
        return seen
    row, column = divmod(int(edges.int().argmax()), edges.shape[1])
    return replace(
        seen,
        **problem.entry_index(name, row, column).fields(),
        wrong=0,
        expected=float(expected.jacobian[row, column]),
        actual=float(actual.jacobian[row, column]),
    ).explained(Verdict.INCONCLUSIVE, edge(problem, name, column))
