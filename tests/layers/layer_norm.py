"""Normalisation over the units of a sample, written for PyTorch alone."""

import torch
from torch import Tensor, nn

import nets
from tests.layer_case import BEFORE, LayerCase


class LayerNorm(nets.Layer):
    """Y_ni = W_i (X_ni − mean_j X_nj) / √(var_j X_nj + ε)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, width, dtype=torch.float64))

    def normal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r = (x.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
        return (x - x.mean(-1, keepdim=True)) * r, r

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * self.normal(x)[0]

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        (h, r), u = self.normal(x), v * self.weight
        return r * (u - u.mean(-1, keepdim=True) - h * (u * h).mean(-1, keepdim=True))

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * self.normal(x)[0]).sum(0)}


class WithoutTheMean(LayerNorm):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        (h, r), u = self.normal(x), v * self.weight
        return r * (u - h * (u * h).mean(-1, keepdim=True))


class WrongGradient(LayerNorm):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * y).sum(0)}


class WrongSum(LayerNorm):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * self.normal(x)[0]).mean(0)}


class Torch(nn.LayerNorm):
    def __init__(self) -> None:
        super().__init__(4, bias=False)
        self.weight.data = torch.linspace(0.5, 1.5, 4, dtype=torch.float64)


nets.register(Torch, lambda module: LayerNorm(4).at({"weight": module.weight}))

CASE = LayerCase(
    lambda: LayerNorm(4),
    Torch,
    {
        "pullback without the mean": (lambda: WithoutTheMean(4), BEFORE),
        "gradient": (lambda: WrongGradient(4), {"1.weight"}),
        "sum over samples": (lambda: WrongSum(4), {"1.weight"}),
    },
)
