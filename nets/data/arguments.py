"""What a data set may be asked for: each check returns the value, or says in one sentence why it will not do."""

import math

import torch

from nets.errors import InputError


def whole(name: str, value: object, least: int) -> int:
    """`value` as an integer of at least `least`; InputError otherwise. True and 3.0 are no integers here."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name}={value!r} was given where a whole number of at least {least} is expected.")
    return value


def non_negative(name: str, value: object) -> float:
    """`value` as a finite number that is not below zero; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 <= value < math.inf):
        raise InputError(f"{name}={value!r} was given where a finite number of at least 0 is expected.")
    return float(value)


def proper_fraction(name: str, value: object) -> float:
    """`value` as a number between 0 and 1, both excluded; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < 1):
        raise InputError(f"{name}={value!r} was given where a number between 0 and 1, both excluded, is expected, such as 0.2.")
    return float(value)


def one_of(name: str, value: object, choices: tuple[str, ...]) -> str:
    """`value` where it is one of `choices`; InputError otherwise."""
    if not isinstance(value, str) or value not in choices:
        expected = " or ".join(f"'{choice}'" for choice in choices)
        raise InputError(f"{name}={value!r} was given where {expected} is expected.")
    return value


def yes_or_no(name: str, value: object) -> bool:
    """`value` where it is True or False; InputError otherwise, since the text 'false' would count as true."""
    if not isinstance(value, bool):
        raise InputError(f"{name}={value!r} was given where true or false is expected.")
    return value


def seeded(seed: object) -> torch.Generator:
    """A generator of its own on the CPU, so that the global random state is neither read nor moved."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not (0 <= seed < 2**63):
        raise InputError(f"seed={seed!r} was given where a whole number from 0 to 2^63 - 1 is expected.")
    return torch.Generator().manual_seed(seed)
