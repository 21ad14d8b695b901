"""What was found about the derivation that is judged: checks, doubts, and derivations that are missing."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from nets.records.check import Check
from nets.records.method import Method
from nets.text import distinct_digits, listed
from nets.verification.compare.witnesses import missing_forward_mode
from nets.verification.problem.problem import Problem

Forward = Literal["optional", "required"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A witness that disagrees with a judged derivation that differences do not contradict.

    Attributes:
        check: the comparison of the judged derivation (`oracle`) with the witness (`against`).
        refuted: whether differences contradict the witness; if not, they are too inaccurate to decide.
        where: what the two numbers of the check are the derivatives of.
    """

    check: Check
    refuted: bool
    where: str


@dataclass(slots=True)
class Judgement:
    """What was found at one point or at several.

    Attributes:
        checks: the judged derivation against the others.
        doubts: the witnesses that disagree without a consequence.
        missing: (derivation, point) for each derivation that the module does not have.
    """

    checks: list[Check] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    missing: list[tuple[Method, str]] = field(default_factory=list)

    def add_missing_forward_mode(self, problem: Problem, name: str, forward: Forward) -> None:
        """Record that a point has no forward mode. Its check does not pass if forward mode is required."""
        self.missing.append((Method.FORWARD_MODE, name))
        if forward == "required":
            self.checks.append(missing_forward_mode(problem, name))

    def notes(self) -> tuple[str, ...]:
        """A note for each derivation that is missing, and one for each witness that disagrees."""
        points = {
            method: [name for missing, name in self.missing if missing is method]
            for method in (Method.FORWARD_MODE, Method.BATCHED_REVERSE)
        }
        by_witness: dict[str, list[Doubt]] = {}
        for doubt in self.doubts:
            by_witness.setdefault(doubt.check.against, []).append(doubt)
        absent = [f"no {method} for {listed(names)}" for method, names in points.items() if names]
        return (*absent, *(_note(witness, doubts) for witness, doubts in by_witness.items()))


def together(judgements: Iterable[Judgement]) -> Judgement:
    """What was found at all points."""
    found = Judgement()
    for judgement in judgements:
        found.checks += judgement.checks
        found.doubts += judgement.doubts
        found.missing += judgement.missing
    return found


def _note(witness: str, doubts: list[Doubt]) -> str:
    # A witness that differences contradict is shown first.
    shown = next((doubt for doubt in doubts if doubt.refuted), doubts[0])
    oracle = shown.check.oracle
    actual, expected = distinct_digits(shown.check.actual, shown.check.expected)
    side = f"differences agree with {oracle}" if shown.refuted else "differences cannot tell the two apart"
    names = listed([doubt.check.parameter for doubt in doubts])
    required = '; forward="required" makes this a failure' if witness == Method.FORWARD_MODE else ""
    return (
        f"{witness} differs from {oracle} for {names}: at {shown.where} it gives {expected} where {oracle} gives "
        f"{actual}, and {side}{required}"
    )
