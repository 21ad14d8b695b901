"""A CSV file as named columns of text. Each is read as numbers or as labels."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nets.errors import InputError

# Larger magnitudes become infinite in float32, and their squares in float64.
LARGEST = float(np.finfo(np.float32).max)
DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class CsvFile:
    """Rows of as many fields as there are names.

    Attributes:
        path: of the file, as it was given.
        names: of the columns, from the header.
        rows: the fields of each sample, as text without the space around it.
        lines: the line that each row begins on, counted from 1.
    """

    path: Path
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def numbers(self, name: str, hint: str) -> npt.NDArray[np.float64]:
        """A column as shape (N, 1); InputError for an entry that is not a finite number, with `hint` on how to mend
        it."""
        column = [row[self.names.index(name)] for row in self.rows]
        values = np.array([_number(text) for text in column])
        usable = np.abs(values) <= LARGEST  # False for NaN
        if not usable.all():
            at = int(np.argmin(usable))
            given = repr(_short(column[at])) if column[at] else "nothing"
            raise InputError(
                f"Column '{name}' of {self.path} has {given} in line {self.lines[at]} where a finite number such as"
                f" 3.5 is expected: mend or delete the line, or {hint}."
            )
        return values[:, None]

    def labels(self, name: str) -> list[str]:
        """A column as text; InputError for a missing label."""
        column = [row[self.names.index(name)] for row in self.rows]
        for text, line in zip(column, self.lines, strict=True):
            if text.lower() in ("", "nan"):
                given = f"'{text}'" if text else "nothing"
                raise InputError(
                    f"Column '{name}' of {self.path} has {given} in line {line} where a label is expected:"
                    " fill it in or delete the line."
                )
        return column


def read_csv(path: Path) -> CsvFile:
    """Reads a table with a header from UTF-8 text; of comma, semicolon and tab, the one that splits the header most
    separates.

    Raises:
        InputError: empty, cut short, not UTF-8, not rectangular, or with two columns of one name.
    """
    text = _decoded(path)
    if not text.strip():
        raise InputError(
            f"{path} is empty where a header with the names of the columns, and samples below it, are expected."
        )
    records: list[tuple[tuple[str, ...], int]] = []
    for fields, line in _records(path, text):
        records.append((fields, line))
        if len(fields) != len(records[0][0]):
            raise InputError(_ragged(path, records))
    (names, _), *samples = records
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    if repeated:
        raise InputError(
            f"{path} names {len(names)} columns in line 1, '{repeated[0]}' more than once: give each its own name."
        )
    if not samples:
        raise InputError(f"{path} ends after its header where samples are expected: it may be cut short.")
    return CsvFile(path, names, tuple(fields for fields, _ in samples), tuple(line for _, line in samples))


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not UTF-8 text, by the byte {content[error.start]:02x} in line {line}: save the table as "
            "CSV in UTF-8."
        ) from error


def _records(path: Path, text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """The fields of each record that is not blank, and the line it begins on."""
    line = 1
    try:
        header = text.lstrip().splitlines()[0]
        delimiter = max(DELIMITERS, key=lambda candidate: len(next(csv.reader([header], delimiter=candidate))))
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        for record in reader:
            fields = tuple(field.strip() for field in record)
            if len(fields) > 1 or any(fields):
                yield fields, line
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path} cannot be read as CSV from line {line} on ({error}): a quotation mark may be missing there, or"
            " the end of the file."
        ) from error


def _ragged(path: Path, records: list[tuple[tuple[str, ...], int]]) -> str:
    (names, _), (fields, line) = records[0], records[-1]
    cause = (
        "the file may be cut short there"
        if len(fields) < len(names)
        else "a separator within a field, such as a decimal comma, wants quotation marks"
    )
    return f"Line {line} of {path} has {len(fields)} fields where the header names {len(names)} columns: {cause}."


def _number(text: str) -> float:
    """The number written in `text`; NaN if it is not a number. Python's 1_000 counts as text."""
    try:
        return float("nan" if "_" in text else text)
    except ValueError:
        return float("nan")


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
