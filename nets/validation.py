"""Checks of arguments. Each returns the value, or raises InputError in one sentence: "NAME is VALUE; expected …:
remedy."."""

import math
import re
import sys
from collections.abc import Sequence
from typing import TypeVar

import torch

from nets.errors import InputError, quoted

Choice = TypeVar("Choice")

LARGEST_WHOLE = 2**63 - 1
"""PyTorch counts and seeds with 64 bits."""


def refusal(name: str, value: object, expected: str, remedy: str = "") -> InputError:
    """The error for an argument: what it is, what was expected, and how to mend it."""
    return InputError(f"{name} is {quoted(value)}; expected {expected}{remedy and ': ' + remedy}.")


def whole(name: str, value: object, least: int, most: int = LARGEST_WHOLE, remedy: str = "") -> int:
    """`value` as an integer from `least` to `most`. True and 3.0 are not integers here."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        unbounded = most == LARGEST_WHOLE and not (isinstance(value, int) and value > most)
        expected = (
            f"of at least {least}" if unbounded else f"from {least} to {'2^63 - 1' if most == LARGEST_WHOLE else most}"
        )
        raise refusal(name, value, f"a whole number {expected}", remedy)
    return value


def number(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    remedy: str = "",
) -> float:
    """`value` as a finite number with least ≤ value ≤ most and above < value < below."""
    # A whole number may exceed every number of double precision, and math.isfinite raises for it.
    finite = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if not finite or not (least <= value <= most and above < value < below):  # type: ignore[operator]
        bounds = [(least, "of at least"), (above, "above"), (most, "of at most"), (below, "below")]
        words = " and ".join(f"{word} {bound:.3g}" for bound, word in bounds if math.isfinite(bound))
        raise refusal(name, value, f"a finite number {words}".rstrip(), remedy)
    return float(value)  # type: ignore[arg-type]


def one_of(name: str, value: object, choices: Sequence[Choice], remedy: str = "") -> Choice:
    """`value` where it is one of `choices`, which are of one type."""
    # The type first: True equals 1, and an array is neither equal to a number nor unequal.
    if type(value) is not type(choices[0]) or value not in choices:
        raise refusal(name, value, " or ".join(map(repr, choices)), remedy)
    return value


def yes_or_no(name: str, value: object) -> bool:
    """`value` where it is True or False. The text 'false' is refused, since Python counts it as true."""
    if not isinstance(value, bool):
        raise refusal(name, value, "True or False")
    return value


def seeded(seed: object) -> torch.Generator:
    """A generator of its own on the CPU: the global random state is neither read nor changed."""
    return torch.Generator().manual_seed(whole("seed", seed, 0))


def generator(value: object) -> torch.Generator:
    """`value` where it is a generator on the CPU; one with the seed 0 where it is None."""
    if value is None:
        return torch.Generator().manual_seed(0)
    if not isinstance(value, torch.Generator) or value.device.type != "cpu":
        raise refusal(
            "generator", value, "a torch.Generator on the CPU", "write torch.Generator().manual_seed(0), for example"
        )
    return value


def device(name: str, value: object) -> torch.device:
    """The device 'cpu', 'cuda' or 'cuda:1', where this machine has it."""
    if not isinstance(value, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", value):
        raise refusal(name, value, "'cpu', 'cuda' or 'cuda:1' (one of several GPUs)")
    count = torch.cuda.device_count()
    if value != "cpu" and int(value.partition(":")[2] or 0) >= count:
        found = f"of which there are {count}, counted from cuda:0" if count else "of which PyTorch finds none here"
        raise refusal(name, value, f"a GPU of this machine, {found}", "choose another, or leave it at cpu")
    return torch.device(value)
