"""Compares one derivation of ∂Y/∂p with all others: which agree, which are wrong, and which are too inaccurate.

The judged derivation fails in three cases: differences contradict it; another derivation contradicts it, which a
training step runs or the caller states; or two witnesses contradict it, agree with each other, and are not contradicted
by differences. A single witness leaves a note, see `witnesses`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import WITNESSES, Method
from nets.records.reason import PASSED, Reason
from nets.records.verdict import Verdict
from nets.text import listed
from nets.verification.compare.by_difference import by_difference
from nets.verification.compare.comparison import POWER, compare
from nets.verification.compare.derivation import Derivation, agree, odd_one_out
from nets.verification.compare.findings import Doubt, Forward, Judgement
from nets.verification.compare.witnesses import corroborated, slopes_by_forward_mode
from nets.verification.compare.zeros import bound_of_zero, far_slope, is_constant
from nets.verification.derivations.complex_step import does_not_depend_on_the_step
from nets.verification.derivations.user_jacobian import GivenEngine
from nets.verification.derivations.variable import Variable
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest

GUARD = 1e-6
"""A fault of up to this part of the largest entry may be intended, such as a guard against a division by zero, or the
error of an adaptive method."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a first-order certificate: arguments of `verify`, and the caller's Jacobians of shape (M, P)."""

    stated: Mapping[str, Tensor] = field(default_factory=dict)
    intended: tuple[str, ...] = ()
    engines: Mapping[str, GivenEngine] = field(default_factory=dict)
    forward: Forward = "optional"
    tolerance: float | None = None

    @property
    def power(self) -> float:
        """The relative fault that a check must be able to see for a verdict. No check can see a fault within the
        declared tolerance."""
        return POWER + 2 * (self.tolerance or 0.0)


@dataclass(frozen=True, slots=True)
class Judge:
    """Compares the derivations of each point of a problem.

    Attributes:
        problem: the function.
        floor: the noise of each output, shape (M,).
        noise: the rounding noise of each row of ∂Y/∂p, shape (M, 1), for each point.
        options: those of `verify`.
    """

    problem: Problem
    floor: Tensor
    noise: Mapping[str, Tensor]
    options: Options

    def judged(self, name: str, jacobians: Mapping[str, Tensor | None]) -> Judgement:
        """Compare the first derivation of one point with each of the others and with differences.

        Args:
            name: the point.
            jacobians: derivation → ∂Y/∂p of shape (M, P), or None where the module has no such derivation.
        """
        found = {d: j.detach() for d, j in jacobians.items() if j is not None}
        # A derivation that goes through an output of lower precision than the others is rounded there.
        unit = self.problem.unit[:, None] * next(iter(found.values())).abs()
        rounding = torch.maximum(unit, self.noise[name]).mul_(ROUNDING_SAFETY)
        subject, *others = [Derivation(d, j, rounding) for d, j in found.items()]
        if name in self.options.intended:
            return self._as_intended(name, subject, others)
        return _Point(self, name, subject, others).judgement(jacobians.keys() - found.keys())

    def _as_intended(self, name: str, subject: Derivation, others: list[Derivation]) -> Judgement:
        """Compare a gradient that is meant to differ from the derivative with the caller's closed form and with its own
        form under vmap."""
        own = [other for other in others if other.name in (Method.STATED_CLOSED_FORM, Method.BATCHED_REVERSE)]
        checks = [compare(self.problem, name, subject, other, constant=True) for other in own]
        if name in self.options.stated:
            # It is not known whether the output depends on the point, so a pass says nothing about a gradient of zero.
            return Judgement([c.explained(c.verdict, PASSED) if c.verdict == Verdict.PASS else c for c in checks])
        failed = [check for check in checks if check.verdict == Verdict.FAIL]
        return Judgement([not_checked(name, subject.name), *failed])


class _Point:
    """The derivations of one point, with differences.

    Attributes:
        subject: the derivation that is judged.
        others: the ones that it is compared with, besides differences.
        difference: central differences.
        constant: whether Y is known not to depend on the point.
    """

    def __init__(self, judge: Judge, name: str, subject: Derivation, others: list[Derivation]) -> None:
        self.judge, self.name = judge, name
        self.problem, self.options = judge.problem, judge.options
        variable = Variable(judge.problem, name, judge.floor)
        difference = by_difference(variable, subject.jacobian)
        if bool(difference.zero_rows().any()) and not agree(subject, difference):
            difference = replace(difference, nearby=far_slope(judge.problem, name))
        if judge.options.tolerance is not None:
            finite = difference.jacobian.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            subject = replace(subject, declared=judge.options.tolerance * largest(finite))
        # Whether the gradient is exactly zero matters only where it is too small to be measured.
        faint = not bool((difference.jacobian.abs().mul_(POWER) > difference.tolerance).any())
        self.subject, self.difference, self.constant = subject, difference, faint and is_constant(variable)
        self.others = [d for d in others if d.name != Method.COMPLEX_STEP or self._is_a_derivative(d)]

    def judgement(self, missing: set[str]) -> Judgement:
        """The verdict on each pair, and on a forward mode that was not among the derivations."""
        judgement = self._weighed()
        judgement.missing += [(method, self.name) for method in (Method.BATCHED_REVERSE,) if method in missing]
        if Method.FORWARD_MODE not in {other.name for other in self.others}:
            self._add_forward_slopes(judgement)
        return judgement

    def _is_a_derivative(self, step: Derivation) -> bool:
        """Whether a complex step is a derivative: it is not if an operation is not analytic."""
        if agree(step, self.subject):
            return True
        check = compare(self.problem, self.name, step, self.difference, self.constant)
        return not check.wrong and does_not_depend_on_the_step(self.problem, self.name, step.jacobian)

    def _weighed(self) -> Judgement:
        """The checks, except for a single witness that disagrees and is not confirmed by differences."""
        bound, power = None if self.constant else self._bound_of_zero(), self.options.power
        against = [*self.others, self.difference]
        checks = [compare(self.problem, self.name, self.subject, d, self.constant, power, bound) for d in against]
        off = {check.against: check for check in checks if check.verdict == Verdict.FAIL}
        doubted = [other for other in self.others if other.name in WITNESSES and other.name in off]
        if self.options.tolerance is None and self.difference.name in off:
            checks = [_advise_tolerance(check) for check in checks]
        if self.difference.name in off or corroborated(doubted, self.difference):
            return Judgement(self._blame([self.subject, *against], checks))
        names = [witness.name for witness in doubted]
        trusted = [d for d in against if d.name not in names]
        kept = [check for check in checks if check.against not in names]
        judgement = Judgement(self._blame([self.subject, *trusted], kept))
        for witness in doubted:
            self._weigh_witness(witness, off[witness.name], judgement)
        return judgement

    def _weigh_witness(self, witness: Derivation, off: Check, judgement: Judgement) -> None:
        """Record a witness that alone disagrees: as a doubt, or as a failure of forward mode if that is required."""
        own = compare(self.problem, self.name, witness, self.difference, self.constant, self.options.power)
        wrong = own.verdict == Verdict.FAIL
        if witness.name == Method.FORWARD_MODE and self.options.forward == "required":
            agreed = f"; {self.subject.name} and {self.difference.name} agree, forward mode is the one that is wrong"
            judgement.checks.append(own.because(agreed) if wrong else off)
        else:
            judgement.doubts.append(Doubt(off, wrong, off.entry))

    def _bound_of_zero(self) -> float | None:
        """The absolute bound on a gradient that is zero, up to rounding, by every derivation; None if one differs from
        zero."""
        subject, difference = self.subject, self.difference
        zero = bool((subject.jacobian.abs() <= subject.tolerance).all()) and all(agree(subject, d) for d in self.others)
        if not zero or difference.has_kink or not agree(subject, difference):
            return None
        found = torch.maximum(difference.jacobian.abs(), subject.jacobian.abs())
        return bound_of_zero(self.problem, self.name, found, difference.tolerance)

    def _add_forward_slopes(self, judgement: Judgement) -> None:
        """Forward mode along random directions, for a point that is too large for each of its entries; or that it is
        missing."""
        required = self.options.forward == "required"
        noise = self.judge.noise[self.name]
        check, refuted = slopes_by_forward_mode(self.problem, self.name, self.subject, self.difference, noise)
        if check is None:
            judgement.add_missing_forward_mode(self.problem, self.name, self.options.forward)
        elif (
            check.verdict == Verdict.FAIL and not required and all(c.verdict != Verdict.FAIL for c in judgement.checks)
        ):
            judgement.doubts.append(Doubt(check, refuted, f"a random direction of {self.name}"))
        else:
            judgement.checks.append(check)

    def _blame(self, derivations: list[Derivation], checks: list[Check]) -> list[Check]:
        """The same checks, and which derivation is wrong, if one disagrees with all the rest.

        If that is not the judged one, it is compared with differences instead of with the judged one.
        """
        if all(check.verdict != Verdict.FAIL for check in checks):
            return checks
        # The same backward pass in another order counts as a derivation of its own only if it gives another result.
        witnesses = [d for d in derivations if d.name != Method.BATCHED_REVERSE or not agree(d, derivations[0])]
        odd = odd_one_out(witnesses)
        if odd is None:
            return checks
        rest = listed([d.name for d in witnesses if d is not odd])
        blame = f"; {rest} agree, {odd.name} is the one that is wrong"
        if odd is derivations[0]:
            return [check.because(blame) if check.verdict == Verdict.FAIL else check for check in checks]
        if odd is self.difference:
            return checks
        own = compare(self.problem, self.name, odd, self.difference, self.constant).because(blame)
        return [own if check.against == odd.name else check for check in checks]


def _advise_tolerance(check: Check) -> Check:
    """The same, with advice if a fault is so small that it may be a guard or the error of an adaptive method."""
    small = check.verdict == Verdict.FAIL and 0 < (check.max_rel_error or 0.0) <= GUARD
    return check.because("; if it is meant to be approximate, declare that with tolerance=") if small else check


def not_checked(name: str, oracle: str) -> Check:
    """The check of a gradient that is meant to differ from the derivative."""
    return Check.without_entry(name, oracle, Method.INTENTION, Verdict.PASS, Reason.DECLARED.because())
