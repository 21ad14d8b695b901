"""Reads which number of a network is meant: '0.weight[2,3]', and the indices of samples and outputs."""

import difflib
import math
import operator
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from nets.errors import InputError, quoted
from nets.validation import refusal

NAME_AND_INDEX = re.compile(r"\s*(?P<name>[^\s\[\]]+)\s*(\[(?P<index>[^\[\]]*)\])?\s*")


def select_entry(points: Mapping[str, Tensor], parameter: object, index: object = None) -> tuple[str, tuple[int, ...]]:
    """The name and the index of one number.

    Args:
        points: name → tensor: the parameters, and the input.
        parameter: a name; or a name and an index, as in '0.weight[2,3]'.
        index: a whole number or a tuple of them, if `parameter` has no index. Negative ones count from the end.

    Raises:
        InputError: unless exactly one number of `points` is meant.
    """
    found = NAME_AND_INDEX.fullmatch(parameter) if isinstance(parameter, str) else None
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
            f"the index was given twice, in '{parameter}' and as {quoted(index)}; expected it once: "
            "leave one of them out."
        )
    shape = tuple(points[name].shape)
    if found["index"] is None and index is None and shape:
        raise InputError(f"{name} has the shape {shape}; expected an index of one number, up to {_last(name, shape)}.")
    if found["index"] is not None:
        index = found["index"].split(",")
    return name, _index(name, shape, () if index is None else index)


def unit_index(what: str, given: object, size: int) -> int:
    """`given` as an index below `size`; `what` names the argument in the InputError that is raised otherwise."""
    try:
        found = _whole_number(given)
    except (TypeError, ValueError):
        found = size
    if not -size <= found < size:
        raise refusal(what, given, f"a whole number from 0 to {size - 1}")
    return found % size


def output_unit(given: object, shape: tuple[int, ...]) -> int:
    """An output in the order of `flatten`, given as such a number or as its index in a sample of this shape."""
    if not isinstance(given, (tuple, list)) or len(given) != len(shape):
        return unit_index("output", given, math.prod(shape))
    index = [unit_index("output", part, size) for part, size in zip(given, shape, strict=True)]
    return int(np.ravel_multi_index(index, shape))


def entry_name(name: str, index: tuple[int, ...]) -> str:
    """'0.weight[2,3]'; the name alone for a scalar."""
    return f"{name}[{','.join(map(str, index))}]" if index else name


def _index(name: str, shape: tuple[int, ...], given: object) -> tuple[int, ...]:
    parts: list[Any] = list(given) if isinstance(given, (tuple, list)) else [given]
    try:
        found = [_whole_number(part) for part in parts]
    except (TypeError, ValueError):
        found = []
    inside = len(found) == len(shape) and all(-size <= n < size for n, size in zip(found, shape, strict=True))
    if not inside:
        # From a string, the parts are shown as the caller wrote them.
        texts = [part if isinstance(part, str) and part.isascii() else quoted(part) for part in parts]
        raise InputError(
            f"{name}[{','.join(text.strip() for text in texts)}] is no number of {name}, whose shape is {shape}; "
            f"expected {len(shape)} whole number{'s' * (len(shape) > 1)} as index, up to {_last(name, shape)}."
        )
    return tuple(number % size for number, size in zip(found, shape, strict=True))


def _whole_number(given: Any) -> int:
    """A TypeError for True and False, which Python counts as whole numbers."""
    if isinstance(given, bool):
        raise TypeError
    return int(given) if isinstance(given, str) else operator.index(given)


def _last(name: str, shape: tuple[int, ...]) -> str:
    return entry_name(name, tuple(size - 1 for size in shape))


def _example(points: Mapping[str, Tensor]) -> str:
    name, tensor = next(iter(points.items()))
    return f"'{_last(name, tuple(tensor.shape))}'"


def _closest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    if len(known) < 20:
        return f"expected one of {', '.join(known)}."
    return f"its parameters run from {known[0]} to {known[-2]}."
