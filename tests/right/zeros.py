"""Gradients that are zero at a symmetric point, though the output depends on the point."""

import torch
from torch import Tensor, nn

from tests.building import Draw, Make, Written, built, normal


def _zeros(*shape: int) -> Draw:
    return lambda generator: torch.zeros(shape, dtype=torch.float64)


def _full(*shape: int) -> Draw:
    """The same number everywhere: a whole one, as 5, or any other."""
    return lambda generator: torch.full(
        shape, float(torch.randint(1, 12, (), generator=generator)) / 2, dtype=torch.float64
    )


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
    "layer norm of equal numbers": built(lambda: nn.LayerNorm(4), _full(2, 4)),
    "batch norm of equal numbers": built(lambda: nn.BatchNorm1d(3), _full(4, 3)),
    "group norm of equal numbers": built(lambda: nn.GroupNorm(1, 4), _full(1, 4, 3)),
    "linear before batch norm, on equal rows": built(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), _full(3, 3)
    ),
    "softmax over one logit": lambda r: (Written(lambda m, x: x.softmax(-1)), (normal(r, 3, 1),)),
}
