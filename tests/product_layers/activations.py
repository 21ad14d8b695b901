"""SiLU, Mish, GELU's tanh form, LeakyReLU, ELU and Hardtanh."""

import torch
from torch import Tensor, nn

from nets.calculus.layers.gates import GELUTanh, Mish, SiLU
from nets.calculus.layers.piecewise import ELU, Hardtanh, LeakyReLU
from tests.layer_case import BEFORE, of_torch


class GateAlone(SiLU):
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.sigmoid(z)


class WithoutSoftplus(Mish):
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        g = torch.tanh(torch.logaddexp(z, torch.zeros_like(z)))
        return g + z * (1 - g * g)


class OfTheExactForm(GELUTanh):
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.erfc(-z * 0.5**0.5) / 2 + z * torch.exp(-z * z / 2) / (2 * torch.pi) ** 0.5


class Swapped(LeakyReLU):
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.where(z < 0, 1.0, self.negative_slope)


class OutputForSlope(ELU):
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.where(z > 0, 1.0, y)


class Unbounded(Hardtanh):
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return (z > self.min_val).to(z.dtype)


CASES = {
    "SiLU": of_torch(nn.SiLU, {"slope of the gate alone": (GateAlone, BEFORE)}),
    "Mish": of_torch(nn.Mish, {"slope of softplus left out": (WithoutSoftplus, BEFORE)}),
    "GELU in tanh form": of_torch(lambda: nn.GELU("tanh"), {"slope of the exact form": (OfTheExactForm, BEFORE)}),
    "leaky ReLU": of_torch(lambda: nn.LeakyReLU(0.2), {"sides swapped": (Swapped, BEFORE)}),
    "ELU": of_torch(lambda: nn.ELU(0.7), {"output for slope": (OutputForSlope, BEFORE)}),
    "hardtanh": of_torch(lambda: nn.Hardtanh(-0.6, 0.3), {"upper bound forgotten": (Unbounded, BEFORE)}),
}

SETTINGS = {
    "leaky ReLU of images": (lambda: nn.LeakyReLU(-0.5), (2, 3, 2, 2)),
    "SiLU of images": (nn.SiLU, (2, 3, 2, 2)),
    "GELU": (nn.GELU, (3, 4)),
}
