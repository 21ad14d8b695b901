"""One derivation of ∂Y/∂p held against all others: who agrees, who is wrong, and who cannot tell.

The judged derivation fails where differences contradict it, where another derivation that a training step runs or that the caller
states does, or where two witnesses agree against it that differences do not contradict. One witness alone leaves a note, see
`nets.verification.compare.witnesses`.
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
from nets.verification.compare.comparison import POWER, Derivation, agree, by_difference, compare, odd_one_out
from nets.verification.compare.witnesses import Doubt, Forward, corroborated, missing_forward_mode, slopes_by_forward_mode
from nets.verification.compare.zeros import bound_of_zero, far_slope, is_constant
from nets.verification.derivations import autograd_modes as oracles
from nets.verification.derivations.user_jacobian import Engine
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest

SMALL = 1e-6
"""The part of the largest entry up to which a fault may be meant: a guard against a division by zero, or an adaptive method."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a first-order certificate is drawn up with: the arguments of `verify`, and the caller's Jacobians of shape (M, P)."""

    seed: int
    stated: Mapping[str, Tensor] = field(default_factory=dict)
    intended: tuple[str, ...] = ()
    engines: Mapping[str, Engine] = field(default_factory=dict)
    forward: Forward = "optional"
    tolerance: float | None = None

    @property
    def power(self) -> float:
        """The relative fault that a check must have seen for a verdict: one within the declared tolerance cannot be."""
        return POWER + 2 * (self.tolerance or 0.0)


@dataclass(slots=True)
class Judgement:
    """What was found at one point.

    Attributes:
        checks: the judged derivation against the others.
        doubts: the witnesses that disagree without a consequence.
        missing: derivations that the module does not have.
    """

    checks: list[Check]
    doubts: list[Doubt] = field(default_factory=list)
    missing: list[Method] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Judge:
    """The point at which derivations are held against each other.

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
        """The first of the derivations of one point against each of the others and against differences.

        Args:
            name: the point.
            jacobians: derivation → ∂Y/∂p of shape (M, P), or None where the module has no such derivation.
        """
        problem, seed = self.problem, self.options.seed
        found = {d: j.detach() for d, j in jacobians.items() if j is not None}
        # A derivation that passes through an output of less precision than the rest is rounded there.
        rounded = torch.maximum(problem.unit[:, None] * next(iter(found.values())).abs(), self.noise[name]).mul_(ROUNDING_SAFETY)
        subject, *others = [Derivation(d, j, rounded) for d, j in found.items()]
        if name in self.options.intended:
            own = [other for other in others if other.name in (Method.STATED_CLOSED_FORM, Method.BATCHED_REVERSE)]
            checks = [compare(problem, name, subject, other, constant=True) for other in own]
            # No word of what the output depends on, since no difference is looked at.
            checks = [check.explained(check.verdict, PASSED) if check.verdict == Verdict.PASS else check for check in checks]
            if name in self.options.stated:
                return Judgement(checks)
            return Judgement([declared(name, subject.name), *(check for check in checks if check.verdict == Verdict.FAIL)])
        difference = by_difference(problem, name, subject.jacobian, self.floor, seed)
        if bool(difference.zero_rows().any()) and not agree(subject, difference):
            difference = replace(difference, nearby=far_slope(problem, name, seed))
        if self.options.tolerance is not None:
            finite = difference.jacobian.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            subject = replace(subject, declared=self.options.tolerance * largest(finite))
        # Only where the gradient cannot be measured does it matter whether it is truly zero.
        faint = not bool((difference.jacobian.abs().mul_(POWER) > difference.tolerance).any())
        constant = faint and is_constant(problem, name, self.floor, seed)
        # A complex step through an operation that is not analytic is no derivative.
        others = [
            d
            for d in others
            if d.name != Method.COMPLEX_STEP
            or agree(d, subject)
            or (not compare(problem, name, d, difference, constant).wrong and oracles.is_analytic(problem, name, d.jacobian))
        ]
        judgement = self._weighed(name, subject, others, difference, constant)
        judgement.missing += [d for d in (Method.BATCHED_REVERSE,) if d in jacobians and d not in found]
        if Method.FORWARD_MODE not in found:
            self._forward_slopes(name, subject, difference, judgement)
        return judgement

    def _weighed(
        self, name: str, subject: Derivation, others: list[Derivation], difference: Derivation, constant: bool
    ) -> Judgement:
        """The checks, without those against a single witness that differences do not bear out."""
        problem = self.problem
        bound = None if constant else self._bound(name, subject, others, difference)
        power = self.options.power
        checks = [compare(problem, name, subject, other, constant, power, bound) for other in (*others, difference)]
        off = {check.against: check for check in checks if check.verdict == Verdict.FAIL}
        doubted = [other for other in others if other.name in WITNESSES and other.name in off]
        if self.options.tolerance is None and difference.name in off:
            checks = [_perhaps_meant(check) for check in checks]
        if difference.name in off or corroborated(doubted, difference):
            return Judgement(blamed(problem, name, [subject, *others, difference], checks, constant))
        names = [witness.name for witness in doubted]
        trusted = [other for other in others if other.name not in names]
        kept = [check for check in checks if check.against not in names]
        judgement = Judgement(blamed(problem, name, [subject, *trusted, difference], kept, constant))
        for witness in doubted:
            against = compare(problem, name, witness, difference, constant, power)
            if witness.name == Method.FORWARD_MODE and self.options.forward == "required":
                because = f"; {subject.name} and {difference.name} agree, forward mode is the one that is wrong"
                judgement.checks.append(against.because(because) if against.verdict == Verdict.FAIL else off[Method.FORWARD_MODE])
            else:
                judgement.doubts.append(Doubt(off[witness.name], against.verdict == Verdict.FAIL, off[witness.name].entry))
        return judgement

    def _bound(self, name: str, subject: Derivation, others: list[Derivation], difference: Derivation) -> float | None:
        """The absolute bound on a gradient that every derivation gives as zero, up to its rounding; None where one does not."""
        zero = bool((subject.jacobian.abs() <= subject.tolerance).all()) and all(agree(subject, other) for other in others)
        if not zero or (difference.kink is not None and bool(difference.kink.any())) or not agree(subject, difference):
            return None
        found = torch.maximum(difference.jacobian.abs(), subject.jacobian.abs())
        return bound_of_zero(self.problem, name, found, difference.tolerance, self.options.seed)

    def _forward_slopes(self, name: str, subject: Derivation, difference: Derivation, judgement: Judgement) -> None:
        """Forward mode along random directions, for a point that is too large for each of its entries; or that there is none."""
        required = self.options.forward == "required"
        check, refuted = slopes_by_forward_mode(self.problem, name, subject, difference, self.noise[name], self.options.seed)
        if check is None:
            judgement.missing.append(Method.FORWARD_MODE)
            if required:
                judgement.checks.append(missing_forward_mode(self.problem, name))
        elif check.verdict == Verdict.FAIL and not required and all(own.verdict != Verdict.FAIL for own in judgement.checks):
            judgement.doubts.append(Doubt(check, refuted, f"a random direction of {name}"))
        else:
            judgement.checks.append(check)


def _perhaps_meant(check: Check) -> Check:
    """The same, with advice where a fault is so small that it may be a guard or an adaptive method's own error."""
    small = check.verdict == Verdict.FAIL and 0 < (check.max_rel_error or 0.0) <= SMALL
    return check.because("; if it is meant to be approximate, declare that with tolerance=") if small else check


def declared(name: str, oracle: str) -> Check:
    """The check of a gradient that is meant to differ from the derivative."""
    return Check.without_entry(name, oracle, Method.INTENTION, Verdict.PASS, Reason.DECLARED.because())


def blamed(problem: Problem, name: str, derivations: list[Derivation], checks: list[Check], constant: bool) -> list[Check]:
    """The same checks, with the derivation named that disagrees with the rest. Where that is not the one that was judged, it is
    held against differences in its place."""
    if all(check.verdict != Verdict.FAIL for check in checks):
        return checks
    # The same backward pass in another order is no second witness, unless it says something else.
    witnesses = [d for d in derivations if d.name != Method.BATCHED_REVERSE or not agree(d, derivations[0])]
    odd = odd_one_out(witnesses)
    if odd is None:
        return checks
    rest = listed([d.name for d in witnesses if d is not odd])
    verdict = f"; {rest} agree, {odd.name} is the one that is wrong"
    if odd is derivations[0]:
        return [check.because(verdict) if check.verdict == Verdict.FAIL else check for check in checks]
    if odd is derivations[-1]:
        return checks
    own = compare(problem, name, odd, derivations[-1], constant).because(verdict)
    return [own if check.against == odd.name else check for check in checks]
