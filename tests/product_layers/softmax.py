"""Softmax and LogSoftmax."""

from torch import Tensor, nn

from nets.calculus.layers.softmax import LogSoftmax, Softmax
from tests.layer_case import BEFORE, of_torch


class DiagonalAlone(Softmax):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return y * (1 - y) * v


class WithoutOuterProduct(Softmax):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return y * v


class TransposedJacobian(LogSoftmax):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v - (y.exp() * v).sum(-1, keepdim=True)


CASES = {
    "softmax of torch": of_torch(
        lambda: nn.Softmax(-1),
        {"pullback without − p pᵀ": (WithoutOuterProduct, BEFORE), "diagonal alone": (DiagonalAlone, BEFORE)},
    ),
    "log softmax": of_torch(lambda: nn.LogSoftmax(1), {"transposed Jacobian": (TransposedJacobian, BEFORE)}),
}

SETTINGS = {
    "softmax over positions": (lambda: nn.Softmax(1), (3, 4, 2)),
    "softmax over channels": (lambda: nn.Softmax(-3), (2, 3, 2, 2)),
    "log softmax over tokens": (lambda: nn.LogSoftmax(-1), (2, 3, 4)),
}
