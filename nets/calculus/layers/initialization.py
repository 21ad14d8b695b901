"""How weights are drawn at the start, and the layers whose weight is drawn so."""

import math

import torch
from torch import Tensor, nn

from nets import validation
from nets.calculus.layer import Layer
from nets.errors import InputError


class WeightedSum(Layer):
    """A layer of weighted sums: a W whose first axis is that of the outputs, and a B with a number for each output.

    W is drawn uniformly from ±gain·√(6 / units), which keeps the variance of the signal at gain = 1; B starts at zero.
    Source: Glorot, Bengio, AISTATS 2010.

    Args:
        shape: of W.
        units: the inputs and the outputs that one number is connected with.
        bias: whether there is a B.
        gain: scale of W.
        generator: of the draw, on the CPU; one with the seed 0 if not given.

    Raises:
        InputError: for an argument out of range, a gain with which W overflows, or a W larger than the free memory.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, shape: tuple[int, ...], units: int, bias: bool, gain: float, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        validation.yes_or_no("bias", bias)
        bound = math.sqrt(6 / units)
        most = torch.finfo(torch.get_default_dtype()).max / max(1.0, bound)
        remedy = "a larger one makes the initial weights overflow, and 1 keeps the variance of the signal"
        bound *= validation.number("gain", gain, least=0, most=most, remedy=remedy)
        self.weight = nn.Parameter(uniform(shape, bound, validation.generator(generator)))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None


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
