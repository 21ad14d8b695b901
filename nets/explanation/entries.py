"""Which number is meant: '0.weight[2,3]' and the like, read and found in a network."""

import difflib
import operator
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nets.errors import InputError, quoted
from nets.validation import refusal

WRITTEN = re.compile(r"\s*(?P<name>[^\s\[\]]+)\s*(\[(?P<index>[^\[\]]*)\])?\s*")


def entry(points: Mapping[str, Tensor], parameter: object, index: object = None) -> tuple[str, tuple[int, ...]]:
    """Name and index of one number among `points`, {name: tensor}.

    Args:
        points: the parameters, and what else can be asked for.
        parameter: a name; or a name and an index, as in '0.weight[2,3]'.
        index: a whole number or a tuple of them, where `parameter` is a name alone. Negative ones count from the end.

    Raises:
        InputError: unless it names exactly one number that is there.
    """
    found = WRITTEN.fullmatch(parameter) if isinstance(parameter, str) else None
    if found is None:
        raise InputError(
            f"the number to explain is {quoted(parameter)}; expected one of the network's: write NAME[INDEX], such as "
            f"{_example(points)}."
        )
    name = found["name"]
    if name not in points:
        raise InputError(f"the network has no {quoted(name)}; {_closest(name, list(points))}")
    if found["index"] is not None and index is not None:
        raise InputError(
            f"the index was given twice, in '{parameter}' and as {quoted(index)}; expected it once: leave one of them out."
        )
    if found["index"] is None and index is None:
        shape = tuple(points[name].shape)
        last = written(name, tuple(size - 1 for size in shape))
        raise InputError(f"{name} has the shape {shape}; expected one number of it: give an index, up to {last}.")
    given = found["index"].split(",") if found["index"] is not None else index
    return name, _index(name, tuple(points[name].shape), given)


def unit(what: str, given: object, size: int) -> int:
    """`given` as an index of `what`, of which there are `size`; InputError otherwise."""
    try:
        found = int(given) if isinstance(given, str) else operator.index(_no_bool(given))
    except (TypeError, ValueError):
        found = size
    if not -size <= found < size:
        raise refusal(what, given, f"a whole number from 0 to {size - 1}")
    return found % size


def _index(name: str, shape: tuple[int, ...], given: object) -> tuple[int, ...]:
    try:
        parts: list[Any] = list(given) if isinstance(given, (tuple, list)) else [given]
        found = [int(part) if isinstance(part, str) else operator.index(_no_bool(part)) for part in parts]
    except (TypeError, ValueError):
        found = []
    if len(found) != len(shape) or not all(-size <= number < size for number, size in zip(found, shape, strict=True)):
        shown = ",".join((part if isinstance(part, str) and part.isascii() else quoted(part)).strip() for part in parts)
        last = written(name, tuple(size - 1 for size in shape))
        raise InputError(
            f"{name}[{shown}] is no number of {name}, whose shape is {shape}; "
            f"expected {len(shape)} whole number{'s' * (len(shape) > 1)} as index, up to {last}."
        )
    return tuple(number % size for number, size in zip(found, shape, strict=True))


def _no_bool(given: Any) -> Any:
    if isinstance(given, bool):
        raise TypeError
    return given


def written(name: str, index: tuple[int, ...]) -> str:
    """'0.weight[2,3]'."""
    return f"{name}[{','.join(map(str, index))}]"


def _example(points: Mapping[str, Tensor]) -> str:
    name, tensor = next(iter(points.items()))
    return f"'{written(name, tuple(size - 1 for size in tensor.shape))}'"


def _closest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    few = f"expected one of {', '.join(known)}." if len(known) < 20 else f"its parameters run from {known[0]} to {known[-2]}."
    return f"did you mean '{near[0]}'?" if near else few
