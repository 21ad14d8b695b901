"""Gradients that are zero at a symmetric point, though the output depends on the point."""

import torch
from torch import Tensor

from tests.building import Draw, Make, Written, normal


def _zeros(*shape: int) -> Draw:
    return lambda generator: torch.zeros(shape, dtype=torch.float64)


def _equal(generator: torch.Generator) -> Tensor:
    return normal(generator, 2, 1).expand(2, 5).clone()


def _twice(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x = normal(generator, 2, 3)
    return x, x.clone()


ZEROS: dict[str, Make] = {
    "x² at 0": lambda r: (Written(lambda m, x: x.square()), (_zeros(3)(r),)),
    "cos at 0": lambda r: (Written(lambda m, x: x.cos()), (_zeros(2, 2)(r),)),
    "sinc at 0": lambda r: (Written(lambda m, x: torch.sinc(x)), (_zeros(3)(r),)),
    "variance of equal numbers": lambda r: (Written(lambda m, x: x.var(-1)), (_equal(r),)),
    "kernel at equal points": lambda r: (Written(lambda m, x, y: (-(x - y).square().sum(-1)).exp()), _twice(r)),
    "product with two zeros": lambda r: (
        Written(lambda m, x: x.prod(-1)),
        (normal(r, 2, 4) * torch.tensor([0, 1, 0, 1.0]).double(),),
    ),
    "softmax over one logit": lambda r: (Written(lambda m, x: x.softmax(-1)), (normal(r, 3, 1),)),
}
