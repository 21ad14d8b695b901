"""What layers and networks may be made of: each check returns the value, or says in one sentence why it will not do."""

import math

import torch

from nets.errors import InputError, quoted

MOST_UNITS = 2**63 - 1
"""PyTorch counts with 64 bits."""


def units(name: str, value: object) -> int:
    """`value` as a number of units; InputError otherwise. True and 3.0 are no whole numbers here."""
    if type(value) is not int or not 1 <= value <= MOST_UNITS:
        raise InputError(f"{name} is {quoted(value)}; expected 1 or more, as a whole number of 64 bits: give the number of units.")
    return value


def gain(value: object, largest: float) -> float:
    """`value` as a finite number that is not below zero, and at most `largest`; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= largest:
        raise InputError(
            f"gain is {quoted(value)}; expected a number from 0 up to {largest:.3g}, from where on the initial weights would "
            "overflow: 1 keeps the variance of the signal."
        )
    return float(value)


def yes_or_no(name: str, value: object) -> bool:
    """`value` where it is True or False; InputError otherwise, since the text 'False' would count as true."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {quoted(value)}; expected True or False.")
    return value


def generator(value: object) -> torch.Generator:
    """`value` where it is a generator of the CPU's, one with the seed 0 where it is None; InputError otherwise."""
    if value is None:
        return torch.Generator().manual_seed(0)
    if not isinstance(value, torch.Generator) or value.device.type != "cpu":
        raise InputError(
            f"generator is {quoted(value)}; expected a torch.Generator of the CPU's: write torch.Generator().manual_seed(0), say."
        )
    return value


def uniform(rows: int, columns: int, bound: float, generator: torch.Generator) -> torch.Tensor:
    """A matrix of that shape, drawn uniformly from ±bound; InputError where the machine has no memory for it."""
    try:
        drawn = torch.rand(rows, columns, generator=generator, device="cpu")
        return ((2 * drawn - 1) * bound).to(torch.get_default_device())
    except RuntimeError as error:  # which is how PyTorch says so
        needed = rows * columns * torch.get_default_dtype().itemsize
        raise InputError(
            f"a weight of shape ({rows}, {columns}) needs {needed / 2**30:.3g} GiB of memory, which cannot be had: make the sizes "
            "smaller."
        ) from error


def largest_gain(inputs: int, outputs: int) -> float:
    """The gain with which Glorot's bound √(6 / (I + J)) reaches the largest number of the default precision."""
    return torch.finfo(torch.get_default_dtype()).max / max(1.0, math.sqrt(6 / (inputs + outputs)))
