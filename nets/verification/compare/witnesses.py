"""Derivations that no training step runs: forward mode and the complex step. They are witnesses, and never the accused.

Where such a witness disagrees with the derivation that is judged, differences decide. If they do not contradict the judged
derivation, the disagreement is a note: an operation without a rule for forward mode silently gives a tangent of zero there, and a
complex step through an operation that is not analytic gives anything. Only forward="required" makes a wrong forward mode a failure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import listed, told_apart
from nets.verification.compare.comparison import Derivation, agree
from nets.verification.derivations.autograd_modes import forward_along, why_no_forward_mode
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

Forward = Literal["optional", "required"]

DIRECTIONS = 16
"""Random directions along which forward mode goes where a point is too large for each of its entries."""


ALIKE = 1e-6
"""Two witnesses say the same where they differ by less than this part of the largest entry."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A witness that disagrees with a judged derivation that differences do not contradict.

    Attributes:
        check: the judged derivation (its `oracle`) held against the witness (its `against`).
        refuted: whether differences contradict the witness; if not, they cannot tell the two apart.
        where: what the two numbers of the check are the derivatives of.
    """

    check: Check
    refuted: bool
    where: str


def noted(doubts: Iterable[Doubt]) -> list[str]:
    """One note for each witness: where it disagrees, and what it gives there."""
    by_witness: dict[str, list[Doubt]] = {}
    for found in doubts:
        by_witness.setdefault(found.check.against, []).append(found)
    return [_note(witness, found) for witness, found in by_witness.items()]


def _note(witness: str, doubts: list[Doubt]) -> str:
    # The one that differences contradict says the most.
    shown = next((found for found in doubts if found.refuted), doubts[0])
    oracle = shown.check.oracle
    actual, expected = told_apart(shown.check.actual, shown.check.expected)
    side = f"differences agree with {oracle}" if shown.refuted else "differences cannot tell the two apart"
    names = listed([found.check.parameter for found in doubts])
    required = '; forward="required" makes this a failure' if witness == Method.FORWARD_MODE else ""
    return (
        f"{witness} differs from {oracle} for {names}: at {shown.where} it gives {expected} where {oracle} gives {actual}, and "
        f"{side}{required}"
    )


def corroborated(doubted: list[Derivation], difference: Derivation) -> bool:
    """Whether two witnesses or more say the same against the judged derivation, and differences contradict none of them."""
    if len(doubted) < 2 or (difference.kink is not None and bool(difference.kink.any())):
        return False
    first = doubted[0].jacobian
    # Not to within the noise of the judged derivation, which is nothing where that gives zero.
    same = all(bool((first - other.jacobian).abs().max() <= ALIKE * first.abs().max()) for other in doubted[1:])
    return same and all(agree(other, difference) for other in doubted)


def missing_forward_mode(problem: Problem, name: str) -> Check:
    """The check that does not pass where forward mode is required and the module has none for a point."""
    why, ours = why_no_forward_mode(problem, name)
    verdict = Verdict.INCONCLUSIVE if ours else Verdict.FAIL
    return Check.without_entry(name, Method.FORWARD_MODE, Method.ITSELF, verdict, Reason.NOT_TO_BE_HAD.because(why=why))


def slopes_by_forward_mode(
    problem: Problem, name: str, subject: Derivation, difference: Derivation, noise: Tensor, seed: int
) -> tuple[Check | None, bool]:
    """The judged Jacobian times random directions against forward mode along them, and whether differences contradict forward
    mode; None where the module has no forward mode."""
    point = problem.points[name]
    t = torch.randint(0, 2, (DIRECTIONS, *point.shape), generator=stream(seed, "directions", name)).to(point.dtype) * 2 - 1
    found = forward_along(problem, name, t)
    if found is None:
        return None, False
    flat = t.reshape(DIRECTIONS, -1).mT
    ours = subject.jacobian @ flat
    error = (ours - found).abs().nan_to_num_(nan=torch.inf)
    # A sum of P rounding errors of random sign is about √P times as large as one of them.
    off = error > ROUNDING_SAFETY * noise * point.numel() ** 0.5
    seen = Reason.SLOPES_ALONG.because(directions=DIRECTIONS, off=int(off.sum()), slopes=off.numel())
    verdict = Verdict.FAIL if off.any() else Verdict.PASS
    check = Check.without_entry(name, subject.name, Method.FORWARD_MODE, verdict, seen, entries=off.numel())
    worst = int(error.argmax())
    check = replace(check, wrong=int(off.sum()), actual=float(ours.view(-1)[worst]), expected=float(found.reshape(-1)[worst]))
    known = difference.tolerance.expand_as(difference.jacobian) @ flat.abs()
    refuted = bool((off & ~((difference.jacobian @ flat - found).abs() <= known)).any())
    return check, refuted
