"""A certificate for a reader."""

from nets.verification.certificate import Certificate, Check

SHORT = {"reverse mode": "reverse", "forward mode": "forward", "batched reverse": "batched", "central difference": "difference"}


def table(certificate: Certificate) -> str:
    """A row per parameter: entries, largest error against each derivation, worst entry, verdict; the formula beneath.

    Then what only answers yes or no, the notes, and the outcome in one sentence.
    """
    entrywise = [check for check in certificate.checks if check.worst_index is not None]
    lines = _rows(entrywise, certificate.formulas) if entrywise else []
    lines += [str(check) for check in certificate.checks if check.worst_index is None and check.verdict == "pass"]
    return "\n".join([*lines, *certificate.notes, certificate.sentence()])


def _rows(checks: list[Check], formulas: dict[str, str]) -> list[str]:
    columns = list(dict.fromkeys(check.against for check in checks))
    cells = [["parameter", "entries", *(SHORT.get(column, column) for column in columns), "worst entry", "verdict"]]
    beneath = [""]
    for name in dict.fromkeys(check.parameter for check in checks):
        own = {check.against: check for check in checks if check.parameter == name}
        worst = max(own.values(), key=lambda check: (check.verdict == "fail", _excess(check)))
        errors = [f"{own[c].max_abs_error:.1e}" if c in own else "–" for c in columns]
        verdict = Certificate(tuple(own.values())).verdict
        entries = max(check.entries for check in own.values())
        cells.append([name, f"{entries:,}", *errors, _index(worst), verdict])
        beneath.append(formulas.get(name, ""))
    widths = [max(len(row[c]) for row in cells) for c in range(len(cells[0]))]
    title = f"largest error of the {checks[0].oracle} against"
    lines = [" " * (widths[0] + widths[1] + 4) + title]
    for row, formula in zip(cells, beneath, strict=True):
        padded = [cell.rjust(w) if 0 < c <= 1 + len(columns) else cell.ljust(w) for c, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(padded).rstrip())
        if formula:
            lines.append(" " * (widths[0] + 2) + formula)
    return lines


def _excess(check: Check) -> float:
    return (check.max_abs_error or 0.0) / max(check.tolerance or 0.0, 1e-300)


def _index(check: Check) -> str:
    return "(" + ", ".join(map(str, check.worst_index or ())) + ")"
