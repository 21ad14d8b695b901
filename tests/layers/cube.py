"""An activation: forward and slope, and nothing else."""

from typing import Any

from torch import Tensor, nn

import nets
from tests.layer_case import BEFORE, LayerCase


class Cube(nets.Activation):
    """Y = Z³."""

    def function(self, m: Any, x: Any) -> Any:
        return x**3

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return 3 * z * z


class WrongSlope(Cube):
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return 3 * y


class Torch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


nets.register(Torch, lambda module: Cube())

CASE = LayerCase(Cube, Torch, {"slope": (WrongSlope, BEFORE)})
