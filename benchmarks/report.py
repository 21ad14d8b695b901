"""The measured rows as tables: every row in docs/benchmarks.md, and one line for each claim in the README."""

import re
from pathlib import Path

from benchmarks.measuring import Row

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- benchmarks: written by make bench -->", "<!-- end of benchmarks -->"


def write(rows: list[Row], machine: str) -> None:
    """Write docs/benchmarks.md, and the table in the README."""
    (ROOT / "docs" / "benchmarks.md").write_text(_page(rows, machine), encoding="utf-8")
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    table_area = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not table_area.search(text):
        raise SystemExit(f"README.md has no '{BEGIN}' with '{END}' after it; the table goes between them.")
    table = f"{BEGIN}\n{_summary(rows)}\nMeasured on {machine}.\n{END}"
    readme.write_text(table_area.sub(lambda _: table, text), encoding="utf-8")


def _page(rows: list[Row], machine: str) -> str:
    lines = [
        "# Benchmarks",
        "",
        "`make bench` writes this page. Each ratio is the median over interleaved runs in one process, with the 10th",
        "and the 90th percentile in brackets. 'A ÷ B' is the time of A divided by the time of B.",
        "",
        f"Machine: {machine}.",
        "",
    ]
    for name, own in _by_claim(rows).items():
        lines += [f"## {name}", "", "| setting | ratio | target | |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {row.setting} | {row.ratio:.3g} [{row.low:.3g}, {row.high:.3g}] | {row.target} | {_verdict(row)} |"
            for row in own
        ]
        lines.append("")
    return "\n".join([*lines, "![how the cost grows](../benchmarks/growth.png)", ""])


def _summary(rows: list[Row]) -> str:
    lines = ["| claim | measured | target | met |", "| --- | --- | --- | --- |"]
    for name, own in _by_claim(rows).items():
        targets = " · ".join(dict.fromkeys(row.target for row in own))
        missed = sum(not row.met for row in own)
        met = "" if targets == "stated" else "yes" if not missed else f"{len(own) - missed} of {len(own)}"
        lines.append(f"| {name} | {' · '.join(f'{row.ratio:.3g}' for row in own)} | {targets} | {met} |")
    return "\n".join(lines) + "\n"


def _by_claim(rows: list[Row]) -> dict[str, list[Row]]:
    claims: dict[str, list[Row]] = {}
    for row in rows:
        claims.setdefault(row.row, []).append(row)
    return claims


def _verdict(row: Row) -> str:
    if row.target == "stated":
        return ""
    return "met" if row.met else f"missed by {row.missed_by:.0%}{': ' if row.why else ''}{row.why}"
