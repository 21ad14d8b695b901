"""An activation with a learnt β, in which it is not linear."""

from typing import Any

import torch
from torch import Tensor, nn

import nets
from tests.layer_case import BEFORE, LayerCase


class Swish(nets.Layer):
    """Y_ni = X_ni σ(β_i X_ni)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.linspace(0.5, 2, width, dtype=torch.float64))

    def function(self, m: Any, x: Any, beta: Any) -> Any:
        return x * m.sigmoid(beta * x)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        s = torch.sigmoid(self.beta * x)
        return v * (s + self.beta * x * s * (1 - s))

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        s = torch.sigmoid(self.beta * x)
        return {"beta": (v * x * x * s * (1 - s)).sum(0)}


class WrongPullback(Swish):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * torch.sigmoid(self.beta * x)


class WrongGradient(Swish):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        s = torch.sigmoid(self.beta * x)
        return {"beta": (v * x * s * (1 - s)).sum(0)}


class WrongSum(Swish):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {name: gradient / len(x) for name, gradient in super().gradients(v, x, y).items()}


class Torch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.linspace(0.5, 2, 4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


nets.register(Torch, lambda module: Swish(4).at({"beta": module.beta}))

CASE = LayerCase(
    lambda: Swish(4),
    Torch,
    {
        "pullback": (lambda: WrongPullback(4), BEFORE),
        "gradient": (lambda: WrongGradient(4), {"1.beta"}),
        "sum over samples": (lambda: WrongSum(4), {"1.beta"}),
    },
)
