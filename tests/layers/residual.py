"""A layer made of layers: the names of its parameters have several parts, such as '1.inner.0.weight'."""

from typing import Any

import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Linear, Tanh
from nets.calculus.parameters import prefixed, within
from tests.layer_case import BEFORE, LayerCase


class Residual(nets.Layer):
    """Y = X + g(X), with g made of layers in sequence."""

    def __init__(self, *layers: nets.Layer) -> None:
        super().__init__()
        self.inner = nets.Network(layers)

    def function(self, m: Any, x: Any, **parameters: Any) -> Any:
        return x + self.inner.function(m, x, **within("inner", parameters))

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v + self.inner.pullback(v, x, y - x)

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return prefixed("inner", self.inner.gradients(v, x, y - x))


class WithoutTheSum(Residual):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.inner.pullback(v, x, y - x)


class WrongSum(Residual):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {name: gradient / len(x) for name, gradient in super().gradients(v, x, y).items()}


class WrongInside(Linear):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {**super().gradients(v, x, y), "weight": v.mT @ x.tanh()}


def inner(kind: type[Linear] = Linear) -> list[nets.Layer]:
    return [kind(4, 4, generator=torch.Generator().manual_seed(6)).double(), Tanh()]


class Torch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double()
        self.inner.load_state_dict(nets.Network(inner()).state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


nets.register(Torch, lambda module: Residual(*nets.Network.from_torch(module.inner).layers))

CASE = LayerCase(
    lambda: Residual(*inner()),
    Torch,
    {
        "pullback without the sum": (lambda: WithoutTheSum(*inner()), BEFORE),
        "gradient inside": (lambda: Residual(*inner(WrongInside)), {"1.inner.0.weight"}),
        "sum over samples": (lambda: WrongSum(*inner()), {"1.inner.0.weight", "1.inner.0.bias"}),
    },
)
