"""Derivations of one Jacobian, entry against entry: who is off, where, by how much, and could it have been seen at all."""

import math
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import PASSED, Finding, Reason
from nets.records.verdict import Verdict
from nets.text import at_least
from nets.verification.derivations.differences import Measured, Refined, measure, measure_twice, refine, refine_near
from nets.verification.derivations.domain import edge
from nets.verification.derivations.kinks import crooked, kink
from nets.verification.fault_patterns import cause
from nets.verification.fault_patterns.fault import Fault
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

POWER = 1e-3
"""A check is worth a verdict only if it would have seen a gradient that is a thousandth off."""

REFINED = 32
"""Columns that disagree with a difference and are measured again, the worst first; the verdict rests on these."""

SURE = 8
"""Columns that are measured again where each of them is found to be wrong: half of them the worst, half the most doubtful."""

ALL = 256
"""Columns that disagree and are all measured again, where none of the first was confirmed."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """∂Y/∂point as one derivation has it.

    Attributes:
        name: what the derivation is called.
        jacobian: shape (M, P).
        tolerance: how far off it may be, broadcasting to (M, P).
        kink: where there is no derivative, since the slopes to both sides differ; None where that was not looked at.
        declared: how far off the caller allows it to be, whatever it is held against.
        nearby: of differences, the slopes that the module has nearby, where a row of the Jacobian is zero and they were looked at.
    """

    name: str
    jacobian: Tensor
    tolerance: Tensor
    kink: Tensor | None = None
    declared: float = 0.0
    nearby: float = 0.0

    @property
    def by_differences(self) -> bool:
        """Whether it was measured: only differences show kinks, and have an error bar of their own."""
        return self.kink is not None

    def zero_rows(self) -> Tensor:
        """The rows that are zero, to within the tolerance. Shape (M, 1)."""
        return (self.jacobian.abs() <= self.tolerance).all(1, keepdim=True)


def by_difference(problem: Problem, name: str, actual: Tensor, floor: Tensor, seed: int) -> Derivation:
    """Central differences of every entry, those that disagree with `actual` measured again."""
    measured = measure(problem, name, floor, seed)
    measured, kinked, better = _refined(problem, name, actual, measured, floor, seed)
    if better is not None:
        # So many disagree, and none of those measured again was confirmed: the one step suits too few of the entries.
        measured = measure_twice(problem, name, floor, better)
        measured, kinked, _ = _refined(problem, name, actual, measured, floor, seed)
    return Derivation(Method.CENTRAL_DIFFERENCE, measured.jacobian, measured.tolerance, kinked)


def _refined(
    problem: Problem, name: str, actual: Tensor, measured: Measured, floor: Tensor, seed: int
) -> tuple[Measured, Tensor, float | None]:
    """The measurement, in the place of which disagreeing columns are measured again, the kinks found, and, where the verdict cannot
    rest on it, the step that suits those columns."""
    jacobian, tolerance = measured.jacobian, measured.tolerance.expand_as(actual).clone()
    kinked = torch.zeros_like(actual, dtype=torch.bool)
    excess, rows = _excess(actual, jacobian, measured.tolerance).max(0)
    suspects = (excess > 1).nonzero()[:, 0]
    bent = measured.bent if measured.bent is not None else kinked
    ordered = suspects[excess[suspects].argsort(descending=True)]
    chosen = suspects
    if len(suspects) > REFINED:
        chosen = torch.cat([ordered[: REFINED // 2], _some(suspects, REFINED // 2, seed)]).unique()
    suited = list[float]()

    def is_wrong(entry: int, column: Refined) -> bool:
        turns = actual[:, entry].abs() >= column.steepest
        jacobian[:, entry], kinked[:, entry] = column.derivative, column.kink
        tolerance[:, entry] = column.tolerance.masked_fill(turns, torch.inf)
        suited.append(float(column.step[rows[entry]]))
        # What is not finite lies beyond the edge of the domain, and says nothing about what is judged.
        known = ~column.kink & ~turns & torch.isfinite(column.derivative)
        return bool(((_excess(actual[:, entry], column.derivative, column.tolerance) > 1) & known).any())

    def again(entries: Tensor) -> bool:
        # A list, since each of them must be looked at.
        return any([is_wrong(entry, refine(problem, name, entry, floor)) for entry in entries.tolist()])

    def all_wrong(entries: Tensor) -> bool:
        """Whether the first of them is wrong over the whole ladder, and each other at steps near those of the first measurement."""
        first, *others = entries.tolist()
        if not is_wrong(first, refine(problem, name, first, floor)):
            return False
        return all(is_wrong(entry, refine_near(problem, name, entry, floor, measured.step)) for entry in others)

    # Where the worst and the most doubtful are all wrong, those in between need not be looked at.
    few = ordered if len(ordered) <= SURE else torch.cat([ordered[: SURE // 2], ordered[-SURE // 2 :]])
    confirmed = bool(len(few)) and all_wrong(few)
    if not confirmed:
        confirmed = again(chosen)
    if not confirmed and not kinked.any() and len(chosen) < len(suspects) <= ALL:
        confirmed, chosen = again(suspects[~torch.isin(suspects, chosen)]), suspects
    # A kink need not show as a disagreement: at the middle of |x| its slopes have the mean 0, as its backward may have.
    for entry in _may_be_kinks(measured, bent, excess <= 1, seed):
        kinked[:, entry] = kink(problem, name, entry, floor)
    if confirmed and len(chosen) == len(suspects):
        kinked |= crooked(problem, name, jacobian, floor, seed)[:, None]
    if kinked.any() and not confirmed:
        # Too many to look at each: those that look like the kinks that were found are taken for kinks.
        kinked |= bent.index_fill(1, chosen, False)
    settled = confirmed or bool(kinked.any()) or len(chosen) == len(suspects)
    return Measured(jacobian, tolerance, measured.step, bent), kinked, None if settled else median(suited)


def _may_be_kinks(measured: Measured, bent: Tensor, quiet: Tensor, seed: int) -> list[int]:
    """Some of the columns that are bent, and of those that are less so the ones in which the slopes differ by the most."""
    found = _some((bent.any(0) & quiet).nonzero()[:, 0], REFINED, seed).tolist()
    if measured.gap is None:
        return found
    gaps = torch.where(bent.any(0) | ~quiet, 0.0, measured.gap)
    faint = gaps.argsort(descending=True)[: REFINED // 2]
    return [*found, *faint[gaps[faint] > 0].tolist()]


def _some(entries: Tensor, most: int, seed: int) -> Tensor:
    """So many of them at most, chosen at random."""
    return entries[torch.randperm(len(entries), generator=stream(seed, "measured again"))][:most]


def compare(
    problem: Problem,
    name: str,
    actual: Derivation,
    expected: Derivation,
    constant: bool,
    power: float = POWER,
    bound: float | None = None,
) -> Check:
    """Hold one derivation against another.

    Args:
        constant: whether Y is known not to depend on `name`, so that a gradient below the tolerance is the right one.
        power: the relative fault that must have been seen for a verdict.
        bound: the absolute bound on a gradient that is zero though Y depends on `name`; None where it is not zero.
    """
    a, e = actual.jacobian, expected.jacobian
    tolerance = _common(actual, expected).expand_as(e)
    scale = largest(e)
    # In place, since fresh memory of this size takes longer to get than the numbers to compute.
    excess = (a - e).abs_().div_(tolerance).nan_to_num_(nan=torch.inf)
    # With a fault in it an entry is off by that, less what it is off by now.
    certain = 1 + min(float(excess.max()), 1.0)
    off = excess > 1
    kinked = expected.kink is not None and bool(expected.kink.any())
    kinks = expected.kink if expected.kink is not None and kinked else torch.zeros((1, 1), dtype=torch.bool)
    edges = ~torch.isfinite(e) if expected.kink is not None and not math.isfinite(scale) else None
    if edges is not None:
        # No difference could be taken there: that is no word against what is judged.
        return _beyond(problem, name, actual, expected, edges)
    wrong = off & ~kinks if kinked else off
    rounded = _rounded(actual, expected, wrong)
    wrong = wrong & ~rounded
    fails = bool(wrong.any())
    # Of those that are off for a reason of their own the largest error is the one to show; else a kink; else what comes nearest.
    if fails:
        shown = torch.where(wrong, (a - e).abs_().nan_to_num_(nan=torch.inf), -1.0)
    else:
        shown = torch.where(kinks, excess, -1.0) if kinked else excess
    row, column = divmod(int(shown.argmax()), e.shape[1])
    detects = certain * float(torch.div(tolerance, e, out=excess).abs_().min()) if scale > 0 else float("inf")
    # At a kink there is no entry that could be wrong.
    widest = float(torch.where(kinks, 0.0, tolerance).max() if kinked else tolerance.max())
    single = certain * widest / scale if scale > 0 else float("inf")
    zero = constant or bound is not None
    verdict, found = _judge(fails, kinked, detects, constant, power, bound)
    if not fails and math.isinf(widest) and expected.by_differences:
        verdict, found = Verdict.INCONCLUSIVE, Reason.TURNS_WITHIN_THE_STEP.because()
    elif not fails and bool(rounded.any()):
        verdict, found = Verdict.INCONCLUSIVE, Reason.NO_LARGER_THAN_ROUNDING.because()
    passed = verdict == Verdict.PASS
    check = Check.from_errors(
        name,
        actual.name,
        expected.name,
        a,
        e,
        tolerance,
        verdict,
        found,
        shown=row * e.shape[1] + column,
        wrong=int(wrong.sum()),
        scale=scale,
        detects=None if passed and zero else detects,
        detects_entry=None if passed and zero else single,
        bound=bound if passed else None,
        **problem.place(name, row, column).fields(),
    )
    return check.looks_like(cause(Fault(problem, name, a, e, wrong, tolerance))) if fails else check


def _rounded(actual: Derivation, expected: Derivation, wrong: Tensor) -> Tensor:
    """Which of the wrong entries lie in rows that are zero by differences, here and nearby, and are no more than rounding noise."""
    if not expected.by_differences or expected.nearby > 0 or not wrong.any():
        return torch.zeros_like(wrong)
    return wrong & expected.zero_rows() & ((actual.jacobian - expected.jacobian).abs() <= actual.tolerance)


def _beyond(problem: Problem, name: str, actual: Derivation, expected: Derivation, edges: Tensor) -> Check:
    """The check against differences some of which are not finite. The entries with finite ones are judged all the same."""
    ours, theirs = torch.where(edges, 0.0, actual.jacobian), torch.where(edges, 0.0, expected.jacobian)
    tolerance = torch.where(edges, 0.0, expected.tolerance.expand_as(theirs))
    seen = compare(
        problem, name, replace(actual, jacobian=ours), replace(expected, jacobian=theirs, tolerance=tolerance), constant=False
    )
    if seen.verdict == Verdict.FAIL:
        return seen
    row, column = divmod(int(edges.int().argmax()), edges.shape[1])
    return replace(
        seen,
        **problem.place(name, row, column).fields(),
        wrong=0,
        expected=float(expected.jacobian[row, column]),
        actual=float(actual.jacobian[row, column]),
    ).explained(Verdict.INCONCLUSIVE, edge(problem, name, column))


def odd_one_out(derivations: list[Derivation]) -> Derivation | None:
    """The one derivation that disagrees with all the others, where those, two or more, agree among themselves."""
    for suspect in derivations:
        others = [derivation for derivation in derivations if derivation is not suspect]
        united = all(agree(one, other) for i, one in enumerate(others) for other in others[i + 1 :])
        if len(others) > 1 and united and not any(agree(suspect, other) for other in others):
            return suspect
    return None


def agree(one: Derivation, other: Derivation) -> bool:
    """Whether no entry of the two differs by more than their tolerances."""
    return not bool((_excess(one.jacobian, other.jacobian, _common(one, other)) > 1).any())


def _common(one: Derivation, other: Derivation) -> Tensor:
    """The tolerance of two derivations. Beside a difference, which has an error bar of its own, the rounding noise of a backward
    pass counts for a millionth of the row's largest entry at most: a coarse backward must not widen its own tolerance."""
    allowed = max(one.declared, other.declared)
    return _explained(one, other).clamp(min=allowed) if allowed else _explained(one, other)


def _explained(one: Derivation, other: Derivation) -> Tensor:
    """What rounding and truncation explain."""
    measured = [derivation for derivation in (one, other) if derivation.by_differences]
    tiny = torch.finfo(other.jacobian.dtype).tiny
    if len(measured) == 1:
        exact = other if measured[0] is one else one
        row = measured[0].jacobian.abs().amax(1, keepdim=True)
        if measured[0].nearby:
            # A row of zeros excuses no rounding by its own size: the mean of equal numbers may be off by a unit in the last place.
            row = torch.where(measured[0].zero_rows(), row.clamp(min=measured[0].nearby), row)
        excused = torch.minimum(exact.tolerance, 1e-6 * row).clamp_(min=tiny)
        return torch.maximum(measured[0].tolerance, excused)
    if one.tolerance is other.tolerance:
        return one.tolerance.clamp(min=tiny)
    return torch.maximum(one.tolerance, other.tolerance).clamp_(min=tiny)


def _excess(actual: Tensor, expected: Tensor, tolerance: Tensor) -> Tensor:
    """|actual − expected| in units of the tolerance; an entry that is not a number exceeds every one."""
    tolerance = tolerance.clamp(min=torch.finfo(expected.dtype).tiny)
    return (actual - expected).abs_().div_(tolerance).nan_to_num_(nan=torch.inf)


def _judge(wrong: bool, kinked: bool, detects: float, constant: bool, power: float, bound: float | None) -> tuple[Verdict, Finding]:
    if wrong:
        return Verdict.FAIL, Reason.WRONG_DERIVATIVE.because()
    if kinked:
        return Verdict.INCONCLUSIVE, Reason.KINK.because()
    if constant:
        return Verdict.PASS, Reason.ZERO_EVERYWHERE.because(what="output")
    if bound is not None:
        return Verdict.PASS, Reason.ZERO_HERE.because(bound=at_least(bound))
    if detects > power:
        unseen = f"a fault below {detects:.1%}" if detects < 10 else "any fault"
        return Verdict.INCONCLUSIVE, Reason.TOO_SMALL.because(fault=unseen)
    return Verdict.PASS, PASSED
