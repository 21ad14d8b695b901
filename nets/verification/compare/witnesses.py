"""Forward mode and the complex step: derivations that no training step runs. They are witnesses of the judged
derivation and are not judged themselves.

If such a witness disagrees with the judged derivation, differences decide. If these do not contradict the judged
derivation, the disagreement is a note: an operation without a rule for forward mode may silently give a tangent of
zero, and a complex step through an operation that is not analytic gives no derivative. Only forward="required" makes a
wrong forward mode a failure.
"""

from dataclasses import replace

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.verification.compare.derivation import Derivation, agree
from nets.verification.derivations.forward_mode import forward_along, why_no_forward_mode
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

FORWARD_DIRECTIONS = 16
"""Random directions of forward mode, where a point is too large for each of its entries."""

AGREEING = 1e-6
"""Two witnesses agree if they differ by less than this part of the largest entry."""


def corroborated(doubted: list[Derivation], difference: Derivation) -> bool:
    """Whether two or more witnesses contradict the judged derivation and agree, and differences contradict none of
    them."""
    if len(doubted) < 2 or difference.has_kink:
        return False
    first = doubted[0].jacobian
    # The noise of the judged derivation is no measure here: it is zero where that derivation gives zero.
    same = all(bool((first - other.jacobian).abs().max() <= AGREEING * first.abs().max()) for other in doubted[1:])
    return same and all(agree(other, difference) for other in doubted)


def missing_forward_mode(problem: Problem, name: str) -> Check:
    """The check that does not pass where forward mode is required and the module has none for a point."""
    absence = why_no_forward_mode(problem, name)
    verdict = Verdict.FAIL if absence.missing_rule else Verdict.INCONCLUSIVE
    found = Reason.FORWARD_MODE_MISSING.because(why=absence.why)
    return Check.without_entry(name, Method.FORWARD_MODE, Method.ITSELF, verdict, found)


def slopes_by_forward_mode(
    problem: Problem, name: str, subject: Derivation, difference: Derivation, noise: Tensor
) -> tuple[Check | None, bool]:
    """The judged Jacobian times random directions against forward mode along them; None where there is no forward mode.

    The second result says whether differences contradict forward mode.
    """
    point = problem.points[name]
    signs = torch.randint(0, 2, (FORWARD_DIRECTIONS, *point.shape), generator=stream(problem.seed, "directions", name))
    t = signs.to(point.dtype) * 2 - 1
    forward = forward_along(problem, name, t)
    if forward is None:
        return None, False
    flat = t.reshape(FORWARD_DIRECTIONS, -1).mT
    ours = subject.jacobian @ flat
    error = (ours - forward).abs().nan_to_num_(nan=torch.inf)
    # P rounding errors of random sign add up to about √P times one of them.
    off = error > ROUNDING_SAFETY * noise * point.numel() ** 0.5
    found = Reason.SLOPES_ALONG.because(directions=FORWARD_DIRECTIONS, off=int(off.sum()), slopes=off.numel())
    verdict = Verdict.FAIL if off.any() else Verdict.PASS
    check = Check.without_entry(name, subject.name, Method.FORWARD_MODE, verdict, found, entries=off.numel())
    worst = int(error.argmax())
    actual, expected = float(ours.view(-1)[worst]), float(forward.reshape(-1)[worst])
    known = difference.tolerance.expand_as(difference.jacobian) @ flat.abs()
    refuted = bool((off & ~((difference.jacobian @ flat - forward).abs() <= known)).any())
    return replace(check, wrong=int(off.sum()), actual=actual, expected=expected), refuted
