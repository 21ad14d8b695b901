"""The outcome of a verification, as records, as a table, as JSON."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nets.errors import GradientError

Verdict = Literal["pass", "fail", "inconclusive"]

SCHEMA = "nets.certificate/1"


@dataclass(frozen=True, slots=True)
class Check:
    """One derivation of ∂Y/∂parameter held against another.

    Attributes:
        parameter: its name, as in `named_parameters()`, or 'input'.
        oracle: the derivation that is judged.
        against: the derivation that it is held against.
        entries: how many entries of the Jacobian were compared.
        wrong: how many of them differ by more than the tolerance.
        max_abs_error: the largest |actual − expected|; None where the oracle only answers yes or no.
        max_rel_error: the same over the largest |expected|.
        worst_index: the entry that exceeds its tolerance the most: the index of the output (n, k), then that of the parameter (i, j).
        expected: what `against` gives there.
        actual: what `oracle` gives there.
        tolerance: the error that rounding and truncation explain there.
        detects: the smallest relative fault of the gradient that this check would have seen at this point.
        verdict: 'pass', 'fail', or 'inconclusive' where the check could not have seen a fault of a thousandth.
        reason: why, in a few words; empty for a plain pass.
    """

    parameter: str
    oracle: str
    against: str
    entries: int
    wrong: int
    max_abs_error: float | None
    max_rel_error: float | None
    worst_index: tuple[int, ...] | None
    expected: float | None
    actual: float | None
    tolerance: float | None
    detects: float | None
    verdict: Verdict
    reason: str = ""

    def __str__(self) -> str:
        """One sentence."""
        if self.worst_index is None:
            return (
                f"{self.parameter}: {self.oracle} against {self.against}: {self.verdict}"
                + f" ({self.reason})." * bool(self.reason)
            )
        where = ", ".join(map(str, self.worst_index))
        if self.verdict == "fail":
            return (
                f"{self.parameter}, entry [{where}]: {self.oracle} gives {self.actual:.9g} where {self.against} gives "
                f"{self.expected:.9g} (tolerance {self.tolerance:.1e}); {self.wrong:,} of {self.entries:,} entries are off."
            )
        return f"{self.parameter}: {self.oracle} against {self.against}: {self.verdict}" + f" ({self.reason})." * bool(
            self.reason
        )


@dataclass(frozen=True)
class Certificate:
    """Every check of one module at one point. Passed only where every check is a 'pass'.

    Attributes:
        checks: in the order of the parameters.
        formulas: parameter → its Jacobian in index form, where it is known in closed form.
    """

    checks: tuple[Check, ...]
    formulas: dict[str, str]

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"

    @property
    def verdict(self) -> Verdict:
        """'fail' if any check failed, else 'inconclusive' if any is, else 'pass'."""
        verdicts = {check.verdict for check in self.checks}
        return (
            "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts or not verdicts else "pass"
        )

    @property
    def entries(self) -> int:
        """How many entries of Jacobians were checked, each counted once however many derivations it was held against."""
        return sum({check.parameter: check.entries for check in self.checks if check.worst_index is not None}.values())

    def sentence(self) -> str:
        """The outcome in one sentence: what was shown, or which entry of which parameter is wrong."""
        if self.verdict == "pass":
            oracles = list(dict.fromkeys(check.against for check in self.checks))
            return f"pass: {self.entries:,} entries, {self.checks[0].oracle} against {_listed(oracles)}."
        # A check with an entry to show says more than one that only says no.
        culprits = [check for check in self.checks if check.verdict == self.verdict]
        return f"{self.verdict}: {min(culprits, key=lambda check: check.worst_index is None)}"

    def raise_if_failed(self) -> None:
        """Raise GradientError, with the one sentence, unless every check passed."""
        if not self.passed:
            raise GradientError(self.sentence())

    def __str__(self) -> str:
        """A table: a row per parameter, the largest error against each derivation in a column, the formula beneath."""
        entrywise = [check for check in self.checks if check.worst_index is not None]
        columns = list(dict.fromkeys(check.against for check in entrywise))
        rows = [["parameter", "entries", *columns, "worst entry", "verdict"]]
        formulas = [""]
        for name in dict.fromkeys(check.parameter for check in entrywise):
            checks = {check.against: check for check in entrywise if check.parameter == name}
            worst = max(checks.values(), key=_excess)
            errors = [f"{checks[c].max_abs_error:.1e}" if c in checks else "" for c in columns]
            verdict = Certificate(tuple(checks.values()), {}).verdict
            rows.append([name, f"{worst.entries:,}", *errors, _listed_index(worst.worst_index), verdict])
            formulas.append(self.formulas.get(name, ""))
        widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
        lines = []
        for row, formula in zip(rows, formulas, strict=True):
            aligned = [
                cell.rjust(w) if 0 < c <= 1 + len(columns) else cell.ljust(w)
                for c, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(aligned).rstrip())
            if formula:
                lines.append(" " * (widths[0] + 2) + formula)
        lines += [str(check) for check in self.checks if check.worst_index is None]
        return "\n".join([*lines, self.sentence()])

    def to_json(self) -> str:
        """The certificate as JSON: {schema, verdict, formulas, checks: [the fields of Check]}; a number that is not finite is null."""
        checks = [{key: _finite(value) for key, value in asdict(check).items()} for check in self.checks]
        document = {"schema": SCHEMA, "verdict": self.verdict, "formulas": self.formulas, "checks": checks}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _excess(check: Check) -> float:
    return (check.max_abs_error or 0.0) / (check.tolerance or math.inf)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _listed_index(index: tuple[int, ...] | None) -> str:
    return "(" + ", ".join(map(str, index or ())) + ")"


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
