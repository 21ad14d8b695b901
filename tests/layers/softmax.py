"""Probabilities: every unit depends on every other."""

from typing import Any

from torch import Tensor, nn

import nets
from tests.layer_case import BEFORE, LayerCase


class Softmax(nets.Layer):
    """Y_ni = exp X_ni / Σ_j exp X_nj."""

    def function(self, m: Any, x: Any) -> Any:
        return m.exp(x) / m.sum(m.exp(x), axis=-1, keepdims=True)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return y * (v - (v * y).sum(-1, keepdim=True))


class WrongPullback(Softmax):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return y * (1 - y) * v


class Torch(nn.Softmax):
    pass


nets.register(Torch, lambda module: Softmax() if module.dim == -1 else None)

CASE = LayerCase(Softmax, lambda: Torch(-1), {"pullback": (WrongPullback, BEFORE)})
