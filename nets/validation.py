"""What a setting may be: each check returns the value, or says in one sentence why it will not do."""

import math
import os
import re
import types
from collections.abc import Sequence
from typing import Any, Union, get_args, get_origin

import torch

from nets.errors import InputError, quoted

UNIONS = (types.UnionType, Union)
"""What `get_origin` says of `int | None`, and of the same where Python 3.10 writes it as `typing.Optional[int]`: its
`get_type_hints` does so for each parameter whose default is None."""


def whole(name: str, value: object, least: int) -> int:
    """`value` as an integer of at least `least`; InputError otherwise. True and 3.0 are no integers here."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name}={quoted(value)} was given where a whole number of at least {least} is expected.")
    return value


def non_negative(name: str, value: object) -> float:
    """`value` as a finite number that is not below zero; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 <= value < math.inf):
        raise InputError(f"{name}={quoted(value)} was given where a finite number of at least 0 is expected.")
    return float(value)


def proper_fraction(name: str, value: object) -> float:
    """`value` as a number between 0 and 1, both excluded; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < 1):
        raise InputError(
            f"{name}={quoted(value)} was given where a number between 0 and 1, both excluded, is expected, such as 0.2."
        )
    return float(value)


def one_of(name: str, value: object, choices: tuple[str, ...]) -> str:
    """`value` where it is one of `choices`; InputError otherwise."""
    if not isinstance(value, str) or value not in choices:
        expected = " or ".join(f"'{choice}'" for choice in choices)
        raise InputError(f"{name}={quoted(value)} was given where {expected} is expected.")
    return value


def yes_or_no(name: str, value: object) -> bool:
    """`value` where it is True or False; InputError otherwise, since the text 'false' would count as true."""
    if not isinstance(value, bool):
        raise InputError(f"{name}={quoted(value)} was given where true or false is expected.")
    return value


def seeded(seed: object) -> torch.Generator:
    """A generator of its own on the CPU, so that the global random state is neither read nor moved."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not (0 <= seed < 2**63):
        raise InputError(f"seed={quoted(seed)} was given where a whole number from 0 to 2^63 - 1 is expected.")
    return torch.Generator().manual_seed(seed)


def device(name: str, value: object) -> torch.device:
    """The device of that name, 'cpu', 'cuda' or 'cuda:1', where this machine has it; InputError otherwise."""
    if not isinstance(value, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", value):
        raise InputError(f"{name}={quoted(value)} was given where 'cpu', 'cuda' or 'cuda:1' (one of several GPUs) is expected.")
    count = torch.cuda.device_count()
    if value != "cpu" and int(value.partition(":")[2] or 0) >= count:
        found = f"there are {count}, counted from cuda:0" if count else "PyTorch finds no GPU that it can use here"
        raise InputError(f"{name}={quoted(value)} was given, but {found}: choose another, or leave it at cpu.")
    return torch.device(value)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value from YAML is what an annotation asks for. No setting has a use for NaN or infinity."""
    if get_origin(kind) in UNIONS:
        return any(fits(value, one) for one in get_args(kind))
    if get_origin(kind) is Sequence:
        return isinstance(value, list) and all(fits(entry, get_args(kind)[0]) for entry in value)
    if kind is float:
        return fits(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, get_origin(kind) or kind) and (kind in (bool, object) or not isinstance(value, bool))


def described(kind: Any) -> str:
    """What an annotation asks for, in English."""
    words = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", object: "a value"}
    if get_origin(kind) in UNIONS:
        return " or ".join(described(one) for one in get_args(kind) if get_origin(one) is not os.PathLike)
    if get_origin(kind) is Sequence:
        return f"a list (of which each entry is {described(get_args(kind)[0])})"
    return words.get(kind, "a section of settings" if kind is dict else "null")
