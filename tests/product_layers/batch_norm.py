"""BatchNorm in evaluation mode, where the samples are independent; tests/test_batch_norm.py has it in training."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nets.calculus.layers.batch_norm import BatchNorm1d
from tests.layer_case import BEFORE, of_torch


def used(make: Callable[[], nn.Module], *shape: int) -> Callable[[], nn.Module]:
    """A module in evaluation mode whose running statistics are not those of the start."""

    def made() -> nn.Module:
        module = make()
        module(torch.randn(shape) * 2 + 1)
        return module.eval()

    return made


class StatisticsOfTheBatch(BatchNorm1d):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        pulled = super().pullback(v, x, y)
        return pulled - pulled.mean(-2, keepdim=True)


class BiasOverTheWrongAxis(BatchNorm1d):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {**super().gradients(v, x, y), "bias": v.sum(1).mean() * v.new_ones(v.shape[1])}


CASES = {
    "batch norm in evaluation mode": of_torch(
        used(lambda: nn.BatchNorm1d(4), 5, 4),
        {
            "statistics of the batch": (StatisticsOfTheBatch, BEFORE),
            "bias over the wrong axis": (BiasOverTheWrongAxis, {"1.bias"}),
        },
    ),
}

SETTINGS = {
    "batch norm of positions": (used(lambda: nn.BatchNorm1d(3, eps=0.1), 5, 3, 2), (4, 3, 2)),
    "batch norm of images": (used(lambda: nn.BatchNorm2d(3), 5, 3, 2, 2), (4, 3, 2, 2)),
    "batch norm without parameters": (used(lambda: nn.BatchNorm2d(3, affine=False), 5, 3, 2, 2), (4, 3, 2, 2)),
}
