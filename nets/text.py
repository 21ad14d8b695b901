"""Numbers, lists and tables in text."""

import math
from collections.abc import Collection, Sequence
from typing import Any

# Numbers.


def six_digits(value: float) -> str:
    """Six digits."""
    return f"{value + 0.0:.6g}"  # −0 + 0 is 0


def sixteen_digits(value: float) -> str:
    """Sixteen digits, all that float64 guarantees."""
    return f"{value + 0.0:.16g}"


def four_digits(number: float) -> str:
    """Four digits, with the typographic minus sign; NaN, ∞ and −∞."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    return f"{number + 0.0:.4g}".replace("-", "−").replace("e−0", "e−").replace("e+0", "e")


def two_digits(number: float) -> str:
    """Two digits: 0.25, 2.0, 78, 1,234 or 2.0e+06."""
    if not math.isfinite(number):
        return "∞" if number > 0 else "unknown"
    if number == 0 or not 1e-3 <= number < 1e5:
        return f"{number:.1e}" if number else "0"
    return f"{number:.2g}" if number < 10 else f"{number:,.0f}"


def percent(share: float) -> str:
    """A rounded share, but never 0 or 100 % where it is neither."""
    if 0 < share < 0.005 or 0.995 <= share < 1:
        return "<1 %" if share < 0.5 else ">99 %"
    return f"{share:.0%}".replace("%", " %")


def rounded_up(size: float) -> str:
    """A number rounded up to one digit, for a bound that must not be understated."""
    if not 0 < size < math.inf:
        return f"{size:.0e}"
    power = math.floor(math.log10(size))
    digit = math.ceil(round(size / 10.0**power, 9))
    return f"{digit * 10.0**power:.0e}"


def distinct_digits(one: float | None, other: float | None) -> tuple[str, str]:
    """Two numbers with nine digits, or as many more as it takes to distinguish them: 17 suffice for any two that
    differ."""
    if one is None or other is None:
        return str(one), str(other)
    written = [(f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in range(9, 18)]
    return next((pair for pair in written if pair[0] != pair[1]), written[0])


def distinct_from_one(factor: float) -> str:
    """A factor with six digits, or as many as it takes to distinguish it from 1."""
    return next((text for text in (f"{factor:.{n}g}" for n in range(6, 17)) if float(text) != 1), "1")


# Names and lists.


def index_text(index: tuple[Any, ...]) -> str:
    """'[1, 2]'; nothing for the one number of a scalar."""
    return "[" + ", ".join(map(str, index)) + "]" if index else ""


def listed(words: Sequence[str]) -> str:
    """'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def precision_name(dtype: object) -> str:
    """'bfloat16' for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")


def one_line(error: BaseException) -> str:
    """The first line of the message of an error, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


# Tables.


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = (), gap: int = 2) -> list[str]:
    """A line for each row; each column is as wide as its widest cell.

    Args:
        rows: the cells; all rows have the same number of cells.
        right: the columns that are aligned to the right.
        gap: the number of spaces between two columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [">" if column in right else "<" for column in range(len(widths))]
    padded = [[f"{cell:{side}{w}}" for cell, side, w in zip(row, sides, widths, strict=True)] for row in rows]
    return [(" " * gap).join(cells).rstrip() for cells in padded]
