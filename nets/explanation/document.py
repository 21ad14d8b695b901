"""Titles, formulas, tables and notes, as text for a terminal and as HTML."""

import html as markup
import re
import textwrap
from dataclasses import dataclass

WIDTH = 80


@dataclass(frozen=True)
class Title:
    text: str
    level: int = 1


@dataclass(frozen=True)
class Lines:
    """Labelled formulas; one without a label goes on from the one above."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows beneath a head.

    Attributes:
        numbers: the column that is set flush right.
        code: the column that holds Python; in text it stands beneath its row.
        total: whether the last row sums the others up.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int
    code: int | None = None
    total: bool = False


@dataclass(frozen=True)
class Note:
    """A sentence, and lines of Python where it speaks of some."""

    text: str
    code: str = ""


Block = Title | Lines | Table | Note


def as_text(blocks: list[Block]) -> str:
    """At most 80 columns wide, but for a word that is longer."""
    return "\n".join(line.rstrip() for block in blocks for line in _text(block))


def _text(block: Block) -> list[str]:
    if isinstance(block, Title):
        return [block.text] if block.level == 1 else ["", *textwrap.wrap(block.text, WIDTH, break_on_hyphens=False)]
    if isinstance(block, Note):
        wrapped = textwrap.wrap(block.text, WIDTH - 2, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
        return wrapped + [f"      {line}" for line in block.code.splitlines()]
    if isinstance(block, Lines):
        found = []
        for label, formula in block.rows:
            words = {"width": WIDTH, "initial_indent": f"  {label:12}", "subsequent_indent": " " * 16, "break_long_words": False}
            found += textwrap.wrap(formula, **words)  # type: ignore[arg-type]
        return found
    return _table(block)


def _table(table: Table) -> list[str]:
    columns = [c for c in range(len(table.head)) if c != table.code]
    widths = [max(len(row[c]) for row in (table.head, *table.rows)) for c in range(len(table.head))]
    # The widest columns are wrapped until all have room.
    while sum(widths[c] + 2 for c in columns) > WIDTH:
        widths[max(columns, key=lambda c: widths[c] if c != table.numbers else 0)] -= 1
    found = []
    for row in (table.head, *table.rows):
        if not any(row[c] for c in columns):
            continue
        cells = [textwrap.wrap(row[c], widths[c], break_long_words=False, break_on_hyphens=False) or [""] for c in columns]
        for line in range(max(map(len, cells))):
            parts = [own[line] if line < len(own) else "" for own in cells]
            found.append(
                "  "
                + "  ".join(
                    p.rjust(widths[c]) if c == table.numbers else p.ljust(widths[c]) for c, p in zip(columns, parts, strict=True)
                )
            )
        if table.code is not None and row is not table.head:
            found += [f"      {line}" for line in row[table.code].splitlines()]
    return found


STYLE = """
.nets-explanation{font:15px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;
  color:#1d2433;background:#fff;max-width:72rem;
  margin:0 auto;padding:1.2rem 1.6rem}
.nets-explanation h1{font-size:1.45rem;font-weight:600;margin:.2rem 0 .8rem}
.nets-explanation h2{font-size:1.05rem;font-weight:600;margin:1.5rem 0 .4rem;color:#2b4a7f}
.nets-explanation .formula{font-family:"STIX Two Text","Cambria Math","Latin Modern Math","DejaVu Serif",serif;
  font-style:italic}
.nets-explanation sub{font-size:.72em;line-height:0}
.nets-explanation table{border-collapse:collapse;margin:.3rem 0}
.nets-explanation th{font-weight:500;color:#667;text-align:left;border-bottom:1px solid #ccd2dd;
  padding:.2rem .9rem .2rem 0;font-size:.88rem}
.nets-explanation td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid #edf0f5;vertical-align:top}
.nets-explanation .number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.nets-explanation .label{color:#667;font-style:normal;padding-right:1.4rem;white-space:nowrap}
.nets-explanation .last td{font-weight:600}
.nets-explanation code,.nets-explanation pre{font:12.5px/1.45 "DejaVu Sans Mono",ui-monospace,Consolas,monospace;
  white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
.nets-explanation pre{background:#f5f7fa;border-radius:6px;padding:.6rem .8rem;margin:.4rem 0}
.nets-explanation .drawing svg{max-width:100%;height:auto}
.nets-explanation .zero{background:#fff4e0;border-left:4px solid #e0962b;padding:.5rem .8rem;border-radius:4px}
"""


def as_html(blocks: list[Block], drawing: str = "") -> str:
    """A fragment with its own style, and an SVG at its end; nothing is loaded from anywhere."""
    shown = f'\n<div class="drawing">{drawing}</div>' if drawing else ""
    return f'<style>{STYLE}</style>\n<div class="nets-explanation">\n' + "\n".join(map(_html, blocks)) + f"{shown}\n</div>"


def _html(block: Block) -> str:
    if isinstance(block, Title):
        return f"<h{block.level}>{_formula(block.text)}</h{block.level}>"
    if isinstance(block, Note):
        style = ' class="zero"' if block.text.startswith("Zero:") else ""
        code = f"\n<pre>{markup.escape(block.code)}</pre>" if block.code else ""
        return f"<p{style}>{_formula(block.text)}</p>{code}"
    if isinstance(block, Lines):
        lines = [f'<tr><td class="label">{label}</td><td class="formula">{_formula(text)}</td></tr>' for label, text in block.rows]
        return f"<table>{''.join(lines)}</table>"
    head = "".join(f"<th{_class(block, c)}>{markup.escape(cell)}</th>" for c, cell in enumerate(block.head))
    rows = []
    for row in block.rows:
        cells = "".join(f"<td{_class(block, c)}>{_cell(block, c, cell)}</td>" for c, cell in enumerate(row))
        last = ' class="last"' if block.total and row is block.rows[-1] else ""
        rows.append(f"<tr{last}>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _class(table: Table, column: int) -> str:
    return ' class="number"' if column == table.numbers else ""


def _cell(table: Table, column: int, text: str) -> str:
    if column == table.code:
        return f"<code>{markup.escape(text)}</code>"
    return _formula(text)


def _formula(text: str) -> str:
    """Subscripts set as such: 'W_2,3' and 'A_ki'."""
    return re.sub(r"_([\d,…]*\d|[a-z…]{1,3}(?![a-z(]))", r"<sub>\1</sub>", markup.escape(text))
