"""The outcome of a verification: as records, as a table, as one sentence and as JSON."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from nets.errors import GradientError, InputError, quoted
from nets.records.certificate_json import READABLE, SCHEMA, checks_of, declared_tolerance, parsed, texts
from nets.records.certificate_table import answers, rests_on_differences, rows
from nets.records.check import Check as Check
from nets.records.location import Location
from nets.records.method import INDEPENDENT, WITNESSES, Method
from nets.records.verdict import Verdict as Verdict
from nets.records.verdict import overall
from nets.text import listed, one_line, rounded_up


@dataclass(frozen=True)
class Certificate:
    """Every check of one module at one point. It has passed if every check has.

    Attributes:
        checks: in the order of the parameters.
        formulas: parameter → its Jacobian in index form, if that is known in closed form.
        notes: further facts: derivations that the module does not have, witnesses that disagree, and with what
            probability probes would have seen a fault.
        location: the submodule that a wrong gradient comes from, if one was found.
        tolerance: the error that the caller allows, in parts of the largest entry of each Jacobian; None for rounding
            alone.
    """

    checks: tuple[Check, ...]
    formulas: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    location: Location | None = None
    tolerance: float | None = None

    @property
    def passed(self) -> bool:
        return self.verdict == Verdict.PASS

    @property
    def verdict(self) -> Verdict:
        """FAIL if any check failed, else INCONCLUSIVE if any is, else PASS."""
        return overall(check.verdict for check in self.checks)

    @property
    def entries(self) -> int:
        """The number of entries of Jacobians that were checked, each counted once."""
        found: dict[str, int] = {}
        for check in self.checks:
            if check.worst_index is not None:
                found[check.parameter] = max(found.get(check.parameter, 0), check.entries)
        return sum(found.values())

    @property
    def detects(self) -> float | None:
        """The smallest wrong scale that would have been seen in every parameter that has a gradient.

        Only checks that rely on no other derivative count: those against differences, or against the whole batch of an
        accumulation. None if there is no such check.
        """
        return _least(check.detects for check in self.checks if check.against in INDEPENDENT)

    @property
    def detects_entry(self) -> float | None:
        """The smallest fault of any one entry that these checks would have seen, in parts of the largest entry of its
        parameter."""
        return _least(check.detects_entry for check in self.checks if check.against in INDEPENDENT)

    @property
    def decisive(self) -> Check | None:
        """The check that the sentence is about; None for a pass."""
        culprits = [check for check in self.checks if check.verdict == self.verdict != Verdict.PASS]
        return min(culprits, key=_rank, default=None)

    def sentence(self) -> str:
        """The outcome in one sentence: what was shown, or which entry of which parameter is wrong."""
        worst = self.decisive
        if worst is None:
            return self._passed()
        where = "" if self.location is None else f"{self.location}. "
        declared = f" {self._declared('The declared tolerance is')}." if self.tolerance is not None else ""
        return f"{self.verdict}: {where}{worst}{declared}"

    def _declared(self, words: str) -> str:
        """The tolerance of the caller in words."""
        return f"{words} {self.tolerance:.3g} of the largest entry" if self.tolerance is not None else ""

    def _passed(self) -> str:
        """The sentence of a pass: the derivations that every checked parameter agrees with, and the parameters that
        were not checked."""
        declared = [check.parameter for check in self.checks if check.against == Method.INTENTION]
        unchecked = f"{listed(declared)}: declared by the caller, not checked" if declared else ""
        checked = [check for check in self.checks if check.against != Method.INTENTION]
        if not checked:
            return f"pass: no derivative was checked; {unchecked}."
        points = {check.parameter for check in checked if check.parameter != "all"}
        covered: dict[str, set[str]] = {}
        for check in checked:
            covered.setdefault(check.against, set()).update(points if check.parameter == "all" else (check.parameter,))
        oracles = listed([oracle for oracle, names in covered.items() if names == points] or list(covered))
        within = f", {self._declared('within the declared tolerance of')}" if self.tolerance is not None else ""
        shown = f"pass: {self.entries:,} entries, {checked[0].oracle} against {oracles}{within}{self._power()}"
        return "; ".join(filter(None, (shown, self._zeros(), unchecked))) + "."

    def _zeros(self) -> str:
        """The gradients that are zero at this point but not everywhere, with their bounds."""
        bounds: dict[str, float] = {}
        for check in self.checks:
            if check.bound is not None:
                bounds[check.parameter] = max(bounds.get(check.parameter, 0.0), check.bound)
        return f"{listed(list(bounds))}: zero, to within {rounded_up(max(bounds.values()))}" if bounds else ""

    def _power(self) -> str:
        """The smallest faults that would have been seen, in the copy in float64 and in the module in its own
        precision."""
        words = _seen(self.detects, self.detects_entry)
        if not words:
            return ""
        as_is = [check for check in self.checks if check.precision is not None]
        low = _seen(_least(check.detects for check in as_is), _least(check.detects_entry for check in as_is))
        where = f" in float64, and {low} in {as_is[0].precision}" if low else ""
        return f"; {words} would have been seen{where}"

    def raise_if_failed(self) -> None:
        """Raise GradientError, with the one sentence, unless every check passed."""
        if not self.passed:
            raise GradientError(self.sentence())

    def __str__(self) -> str:
        """The table, the outcome in one sentence, and its likely causes."""
        return "\n".join(filter(None, (self.table(), self.sentence(), self.likely_causes())))

    def likely_causes(self) -> str:
        """The likely causes of the decisive check's reason: 'Likely causes: (a) …; (b) …', or '' if none are known."""
        worst = self.decisive
        likely = () if worst is None or worst.reason is None else worst.reason.likely
        causes = [f"({letter}) {cause}" for letter, cause in zip("abcdef", likely, strict=False)]
        return f"Likely causes: {'; '.join(causes)}." if causes else ""

    def table(self) -> str:
        """A row for each parameter: entries, largest error against each derivation, verdict; beneath it, the formula
        and the worst entry. Then the checks that only answer yes or no, and the notes."""
        return "\n".join([*rows(self.checks, self.formulas), *answers(self.checks), *self.notes])

    def to_json(self) -> str:
        """The certificate as JSON: {schema, verdict, formulas, notes, location, tolerance, checks: [the fields of
        Check]}.

        A number that is not finite is written as the string 'inf', '-inf' or 'nan'.
        """
        checks = [{key: _written(value) for key, value in asdict(check).items()} for check in self.checks]
        document = {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "formulas": self.formulas,
            "notes": list(self.notes),
            "tolerance": self.tolerance,
            "location": None if self.location is None else asdict(self.location),
            "checks": checks,
        }
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Certificate":
        """The certificate that `to_json` wrote.

        Raises:
            InputError: if the text is not such a document, or has an unknown schema.
        """
        try:
            document = parsed(text)
            schema = document.get("schema")
            if schema is None:
                raise ValueError("it has no schema")
        except ValueError as error:
            raise InputError(
                f"the text is no certificate ({one_line(error)}); expected what Certificate.to_json wrote."
            ) from error
        if schema not in READABLE:
            raise InputError(
                f"the certificate has the schema {quoted(schema)}; expected {SCHEMA}: read it with the nets that "
                "wrote it."
            )
        try:
            checks, (formulas, notes) = checks_of(document), texts(document)
            location, tolerance = Location.from_dict(document.get("location")), declared_tolerance(document)
            found = cls(checks, formulas, notes, location, tolerance)
            verdict = document.get("verdict")
            if verdict != found.verdict:
                raise ValueError(f"the verdict is {quoted(verdict)} where its checks make it '{found.verdict}'")
        except ValueError as error:
            raise InputError(
                f"the certificate is damaged ({one_line(error)}); expected what Certificate.to_json wrote."
            ) from error
        return found


def _least(found: Iterable[float | None]) -> float | None:
    """The fault that all of these checks would have seen; None if there is none."""
    return max((size for size in found if size is not None and math.isfinite(size)), default=None)


def _seen(scale: float | None, entry: float | None) -> str:
    if scale is None:
        return ""
    alone = "" if entry is None else f", and one entry that is off by {rounded_up(entry)} of the largest,"
    return f"a scale that is off by {rounded_up(scale)}{alone}"


def _written(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _rank(check: Check) -> tuple[bool, bool, bool, bool]:
    """The order of checks that do not pass: a wrong backward pass before a wrong witness, a check with an entry before
    one without, and a comparison with differences before one with another derivation."""
    return (
        check.oracle in WITNESSES,
        check.worst_index is None,
        not rests_on_differences(check),
        check.against in WITNESSES,
    )
