"""A document of titles, formulas, tables and notes, as text for a terminal and as HTML."""

import html as markup
import os
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import ClassVar

from nets.errors import InputError
from nets.text import aligned

WIDTH = 80

CSS = files("nets.explanation").joinpath("document.css").read_text("utf-8")


@dataclass(frozen=True)
class Title:
    """A heading; level 1 is the title of the document."""

    text: str
    level: int = 1


@dataclass(frozen=True)
class Lines:
    """Formulas, each with a label; an empty label continues the line above."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows beneath a head.

    Attributes:
        head: the titles of the columns.
        rows: the cells.
        numbers: the column that is aligned to the right.
        code: the column that holds Python; as text it stands beneath its row.
        total: whether the last row is the sum or the product of the others.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int
    code: int | None = None
    total: bool = False


@dataclass(frozen=True)
class Note:
    """A sentence, with the lines of Python that it refers to.

    Attributes:
        text: the sentence.
        code: Python; may be empty.
        highlighted: whether the page puts it in a box.
    """

    text: str
    code: str = ""
    highlighted: bool = False


Block = Title | Lines | Table | Note


class Document(ABC):
    """What is shown in a terminal, in a notebook, and as a page."""

    file: ClassVar[str]
    """Name of the files of `save`, without an ending."""

    @abstractmethod
    def blocks(self) -> list[Block]:
        """The document, in order; it begins with its title."""

    def __repr__(self) -> str:
        """Text for a terminal of 80 columns or more."""
        return as_text(self.blocks())

    def _repr_html_(self) -> str:
        return as_html(self.blocks())

    def to_html(self) -> str:
        """A self-contained page."""
        title = markup.escape(next(block.text for block in self.blocks() if isinstance(block, Title)))
        head = f'<html lang="en"><meta charset="utf-8"><title>{title}</title>'
        return f"<!doctype html>\n{head}\n{self._repr_html_()}\n</html>\n"

    def files(self) -> dict[str, str]:
        """The name of each file of `save`, and its text."""
        return {f"{self.file}.html": self.to_html(), f"{self.file}.txt": f"{self}\n"}

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the page and the text into a folder, and the pictures that belong to them.

        Raises:
            InputError: if one of these files exists.
        """
        texts = self.files()
        for name in texts:
            if (path := Path(directory, name)).exists():
                raise InputError(f"{path} exists already, and nothing is ever overwritten: choose another folder.")
        for name, text in texts.items():
            Path(directory, name).write_text(text, encoding="utf-8")


def as_text(blocks: Sequence[Block]) -> str:
    """At most 80 columns wide, unless a single word or a line of code is longer."""
    return "\n".join(line.rstrip() for block in blocks for line in _text(block))


def _text(block: Block) -> list[str]:
    match block:
        case Title(text, 1):
            return [text]
        case Title(text):
            return ["", *_wrapped(text, WIDTH)]
        case Note(text, code):
            return [*_wrapped(text, WIDTH - 2, "  "), *_code_lines(code)]
        case Lines(rows):
            return [line for label, formula in rows for line in _wrapped(formula, WIDTH, f"  {label:12}", " " * 16)]
        case Table():
            return _table_text(block)


def _wrapped(text: str, width: int, first: str = "", others: str | None = None) -> list[str]:
    """Lines of at most `width` columns, indented; no word is broken."""
    others = first if others is None else others
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )


def _code_lines(code: str) -> list[str]:
    return [f"      {line}" for line in code.splitlines()]


def _table_text(table: Table) -> list[str]:
    columns = [c for c in range(len(table.head)) if c != table.code]
    widths = _column_widths(table, columns)
    rows = [row for row in (table.head, *table.rows) if any(row[c] for c in columns)]
    wrapped = [list(zip_longest(*(_wrapped(row[c], widths[c]) for c in columns), fillvalue="")) for row in rows]
    lines = iter(aligned(list(chain(*wrapped)), right=[columns.index(table.numbers)]))
    text = []
    for row, own in zip(rows, wrapped, strict=True):
        text += [f"  {line}" for line in islice(lines, len(own))]
        if table.code is not None and row is not table.head:
            text += _code_lines(row[table.code])
    return text


def _column_widths(table: Table, columns: list[int]) -> list[int]:
    """The width of the longest cell of each column; the widest columns are narrowed until the row fits, but never below
    their longest word."""
    cells = list(zip(table.head, *table.rows, strict=True))
    widths = [max(map(len, column)) for column in cells]
    longest_words = [max(len(word) for cell in column for word in [*cell.split(), ""]) for column in cells]
    while sum(widths[c] + 2 for c in columns) > WIDTH:
        wrappable = [c for c in columns if widths[c] > longest_words[c]]
        if not wrappable:
            break
        widths[max(wrappable, key=lambda c: widths[c])] -= 1
    return widths


def as_html(blocks: Sequence[Block], drawing: str = "") -> str:
    """A fragment with its own style, and an SVG at its end; it loads nothing."""
    body = "\n".join(map(_html, blocks))
    shown = f'\n<div class="drawing">{drawing}</div>' if drawing else ""
    return f'<style>\n{CSS}</style>\n<div class="nets-explanation">\n{body}{shown}\n</div>'


def _html(block: Block) -> str:
    match block:
        case Title(text, level):
            return f"<h{level}>{_formula(text)}</h{level}>"
        case Note(text, code, highlighted):
            style = ' class="highlighted"' if highlighted else ""
            lines = f"\n<pre>{markup.escape(code)}</pre>" if code else ""
            return f"<p{style}>{_formula(text)}</p>{lines}"
        case Lines(rows):
            cells = (f'<td class="label">{label}</td><td class="formula">{_formula(text)}</td>' for label, text in rows)
            return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
        case Table():
            return _table_html(block)


def _table_html(table: Table) -> str:
    head = "".join(f"<th{_class(table, c)}>{markup.escape(cell)}</th>" for c, cell in enumerate(table.head))
    rows = []
    for row in table.rows:
        cells = "".join(f"<td{_class(table, c)}>{_cell(table, c, cell)}</td>" for c, cell in enumerate(row))
        last = ' class="last"' if table.total and row is table.rows[-1] else ""
        rows.append(f"<tr{last}>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _class(table: Table, column: int) -> str:
    return ' class="number"' if column == table.numbers else ""


def _cell(table: Table, column: int, text: str) -> str:
    return f"<code>{markup.escape(text)}</code>" if column == table.code else _formula(text)


def _formula(text: str) -> str:
    """Subscripts as HTML: 'W_2,3', 'A_11,l' and 'A_ki', but not the name 'norm_1.weight'."""
    subscript = r"_(\d+,[a-z](?![a-z(])|(?!\d+\.[a-z])[\d,…]*\d|[a-z…]{1,3}(?![a-z(]))"
    return re.sub(subscript, r"<sub>\1</sub>", markup.escape(text))
