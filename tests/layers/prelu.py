"""A learnt slope for negative numbers: the output is not linear in the parameter and the input together."""

from typing import Any

import torch
from torch import Tensor, nn

import nets
from tests.layer_case import BEFORE, LayerCase


class PReLU(nets.Layer):
    """Y_ni = X_ni where X_ni > 0, else A_i X_ni."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.1, 0.4, width, dtype=torch.float64))

    def function(self, m: Any, x: Any, weight: Any) -> Any:
        return m.where_positive(x, x, weight * x)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(x > 0, v, v * self.weight)

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * x.clamp(max=0)).sum(0)}


class WrongPullback(PReLU):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(x < 0, v, v * self.weight)


class WrongGradient(PReLU):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * x).sum(0)}


class WrongSum(PReLU):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * x.clamp(max=0)).sum(0) / len(x)}


class Torch(nn.PReLU):
    def __init__(self) -> None:
        super().__init__(4)
        self.weight.data = torch.linspace(0.1, 0.4, 4, dtype=torch.float64)


nets.register(Torch, lambda module: PReLU(4).at({"weight": module.weight}))

CASE = LayerCase(
    lambda: PReLU(4),
    Torch,
    {
        "pullback": (lambda: WrongPullback(4), BEFORE),
        "gradient": (lambda: WrongGradient(4), {"1.weight"}),
        "sum over samples": (lambda: WrongSum(4), {"1.weight"}),
    },
)
