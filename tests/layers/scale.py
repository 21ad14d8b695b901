"""A factor for each unit."""

from typing import Any

import torch
from torch import Tensor, nn

import nets
from tests.layer_case import BEFORE, LayerCase


class Scale(nets.Layer):
    """Y_ni = W_i X_ni."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, width, dtype=torch.float64))

    def function(self, m: Any, x: Any, weight: Any) -> Any:
        return x * weight

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * self.weight

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * x).sum(0)}


class WrongPullback(Scale):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v / self.weight


class WrongGradient(Scale):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * y).sum(0)}


class WrongSum(Scale):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * x).mean(0)}


class Torch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


nets.register(Torch, lambda module: Scale(4).at({"weight": module.weight}))

CASE = LayerCase(
    lambda: Scale(4),
    Torch,
    {
        "pullback": (lambda: WrongPullback(4), BEFORE),
        "gradient": (lambda: WrongGradient(4), {"1.weight"}),
        "sum over samples": (lambda: WrongSum(4), {"1.weight"}),
    },
)
