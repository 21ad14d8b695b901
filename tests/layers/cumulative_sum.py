"""A layer whose Jacobian is a triangle."""

from typing import Any

from torch import Tensor, nn

import nets
from tests.layer_case import BEFORE, LayerCase


class CumulativeSum(nets.Layer):
    """Y_ni = Σ_{j ≤ i} X_nj."""

    def function(self, m: Any, x: Any) -> Any:
        return m.cumsum(x, axis=-1)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v.flip(-1).cumsum(-1).flip(-1)


class WrongPullback(CumulativeSum):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v.cumsum(-1)


class Torch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(-1)


nets.register(Torch, lambda module: CumulativeSum())

CASE = LayerCase(CumulativeSum, Torch, {"pullback": (WrongPullback, BEFORE)})
