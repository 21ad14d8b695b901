"""How weights are drawn at the start."""

import math

import torch
from torch import Tensor

from nets.errors import InputError


def uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    """A weight of that shape, drawn uniformly from ±bound.

    Raises:
        InputError: for a weight larger than the free memory.
    """
    try:
        drawn = torch.rand(shape, generator=generator, device="cpu")
        return ((2 * drawn - 1) * bound).to(torch.get_default_device())
    except RuntimeError as error:  # PyTorch has no error of its own for too little memory
        needed = math.prod(shape) * torch.get_default_dtype().itemsize
        raise InputError(
            f"a weight of shape {shape} needs {needed / 2**30:.3g} GiB, which is more than this machine has free; "
            "expected smaller sizes."
        ) from error
