"""Numbers and names in sentences."""

import math
from typing import Any


def distinct_digits(one: float | None, other: float | None) -> tuple[str, str]:
    """Two numbers with nine digits, or with as many more as they need to differ: at most 17."""
    if one is None or other is None:
        return str(one), str(other)
    written = [(f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in range(9, 18)]
    return next((pair for pair in written if pair[0] != pair[1]), written[0])


def indexed(index: tuple[Any, ...]) -> str:
    """'[1, 2]'; nothing for the one number of a scalar."""
    return "[" + ", ".join(map(str, index)) + "]" if index else ""


def digits(factor: float) -> str:
    """A factor with six digits, or with as many as it takes to tell it from 1."""
    return next((text for text in (f"{factor:.{n}g}" for n in range(6, 17)) if float(text) != 1), "1")


def listed(words: list[str]) -> str:
    """'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def at_least(size: float) -> str:
    """A number rounded up to one digit, so that no less is promised than is so."""
    if not 0 < size < math.inf:
        return f"{size:.0e}"
    power = math.floor(math.log10(size))
    digit = math.ceil(round(size / 10.0**power, 9))
    return f"{digit * 10.0**power:.0e}"


def precision_name(dtype: object) -> str:
    """'bfloat16' for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")


def one_line(error: BaseException) -> str:
    """The first line of what an error says, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
