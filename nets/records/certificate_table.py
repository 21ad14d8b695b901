"""A certificate as a table for a terminal: a row for each parameter, a column for each derivation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict, overall
from nets.text import aligned

SHORT: dict[str, str] = {
    Method.REVERSE_MODE: "reverse",
    Method.FORWARD_MODE: "forward",
    Method.BATCHED_REVERSE: "batched",
    Method.CENTRAL_DIFFERENCE: "difference",
    Method.NUMPY: "NumPy",
    Method.TENSORFLOW: "TF",
}
"""Short names at the head of a column, so that seven columns fit a terminal of 80 characters."""

NONE = "–"


def rows(checks: Sequence[Check], formulas: Mapping[str, str]) -> list[str]:
    """A row for each parameter with entries, and for each other parameter that does not pass or is not checked.

    The verdict of a row is the common verdict of all checks of its parameter, including those without an entry: a
    certificate that fails has a row that fails, and one that passes has none.
    """
    entrywise = [check for check in checks if check.worst_index is not None]
    if not entrywise:
        return []
    title = entrywise[0].oracle
    columns = list(dict.fromkeys(check.against for check in entrywise))
    cells = [["parameter", "entries", *(SHORT.get(column, column) for column in columns), "verdict"]]
    beneath = [""]
    for name, own in _by_parameter(checks).items():
        # If two checks compare with the same derivation, the column shows the check of the judged one: another
        # derivation may be compared with differences, too.
        shown = {c.against: c for c in sorted(own, key=lambda c: c.oracle == title) if c.worst_index is not None}
        verdict = "not checked" if all(c.against == Method.INTENTION for c in own) else overall(c.verdict for c in own)
        if not shown and verdict == Verdict.PASS:
            continue
        entries = f"{max(check.entries for check in shown.values()):,}" if shown else NONE
        errors = [f"{shown[c].max_abs_error:.1e}" if c in shown else NONE for c in columns]
        cells.append([name, entries, *errors, verdict])
        beneath.append("   ".join(filter(None, (formulas.get(name, ""), _shown_beneath(list(shown.values()))))))
    return _with_formulas(cells, beneath, f"largest error of the {title} against")


def answers(checks: Sequence[Check]) -> list[str]:
    """Lines for the checks without an entry that pass: one for each check of all parameters together, and one for each
    derivation."""
    plain = [c for c in checks if c.worst_index is None and c.verdict == Verdict.PASS and c.against != Method.INTENTION]
    lines = [str(check) for check in plain if check.parameter == "all"]
    for against in dict.fromkeys(check.against for check in plain if check.parameter != "all"):
        own = [check for check in plain if check.against == against and check.parameter != "all"]
        several = f"{len(own)} parameters and inputs: {own[0].oracle} against {against}: pass ({own[0].message})."
        lines.append(str(own[0]) if len(own) == 1 else several)
    return lines


def _by_parameter(checks: Sequence[Check]) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for check in checks:
        found.setdefault(check.parameter, []).append(check)
    return found


def _shown_beneath(own: list[Check]) -> str:
    """The worst entry, or why the gradient is zero."""
    if not own:
        return ""
    zero = next((check.message for check in own if check.reason in (Reason.ZERO_EVERYWHERE, Reason.ZERO_HERE)), "")
    worst = max(own, key=lambda check: (check.verdict == Verdict.FAIL, rests_on_differences(check), _excess(check)))
    return f"worst entry {worst.entry}" if worst.entry and not zero else zero


def _with_formulas(cells: list[list[str]], beneath: list[str], title: str) -> list[str]:
    """The lines of the table: aligned cells, a title above the columns of errors, and below each row its formula and
    its worst entry."""
    first, second = (max(len(row[column]) for row in cells) for column in (0, 1))
    lines = [" " * (first + second + 4) + title]
    for row, formula in zip(aligned(cells, right=range(1, len(cells[0]) - 1)), beneath, strict=True):
        lines += [row, " " * (first + 2) + formula] if formula else [row]
    return lines


def rests_on_differences(check: Check) -> bool:
    """Whether a check that does not pass compares with differences, which rely on no other derivative."""
    return check.verdict != Verdict.PASS and check.against == Method.CENTRAL_DIFFERENCE


def _excess(check: Check) -> float:
    return (check.max_abs_error or 0.0) / max(check.tolerance or 0.0, 1e-300)
