"""Activations Y = Z g(Z), where g is a smooth step from 0 to 1: GELU, its tanh form, SiLU and Mish.

Sources: GELU: Hendrycks, Gimpel, arXiv:1606.08415; SiLU: Elfwing, Uchibe, Doya, arXiv:1702.03118; Mish: Misra,
arXiv:1908.08681.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.layers.activations import Activation
from nets.calculus.layers.conversion import register
from nets.calculus.mathematics import TORCH, Mathematics

LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = LINEAR * 0.044715
"""2 U = LINEAR Z + CUBIC Z³ in GELU's tanh form."""


class GELU(Activation, known_as="gelu"):
    """Y = Z Φ(Z), with Φ the distribution function of the standard normal."""

    symbol = "(Φ({z}) + {z} φ({z}))"

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = Z Φ(Z), Φ(Z) = ½ erfc(−Z/√2)."""
        return x * m.erfc(-x * math.sqrt(0.5)) / 2

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = Φ(Z) + Z φ(Z), φ(Z) = e^(−Z²/2) / √(2π)."""
        return torch.erfc(-z * math.sqrt(0.5)) / 2 + z * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


class GELUTanh(Activation, known_as="gelu_tanh"):
    """Y = Z G with G = (1 + tanh U) / 2 and U = √(2/π) (Z + 0.044715 Z³): `torch.nn.GELU(approximate="tanh")`.

    G = σ(2 U), which keeps its digits where tanh U is close to −1.
    """

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = Z σ(2 U)."""
        return x * self._gate(m, x, x * x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = G + Y (1 − G) 2 U′, U′ = √(2/π) (1 + 3 · 0.044715 Z²)."""
        square = z * z
        gate = self._gate(TORCH, z, square)
        # 2 U′ overflows before 1 − G or Y, one of which is 0 there, can cancel it.
        steep = (3 * CUBIC * square + LINEAR).clamp(max=torch.finfo(z.dtype).max ** 0.5)
        return gate + y * (1 - gate) * steep

    @staticmethod
    def _gate(m: Mathematics, z: Any, square: Any) -> Any:
        """G, from Z and Z²."""
        return m.sigmoid(z * (CUBIC * square + LINEAR))


class SiLU(Activation, known_as="silu"):
    """Y = Z σ(Z)."""

    symbol = "(σ({z}) + {y}(1 − σ({z})))"

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = Z σ(Z)."""
        return x * m.sigmoid(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = σ(Z) + Y (1 − σ(Z))."""
        s = torch.sigmoid(z)
        return s + y * (1 - s)


class Mish(Activation, known_as="mish"):
    """Y = Z tanh(log(1 + e^Z))."""

    symbol = "(tanh(log(1 + exp {z})) + {z}(1 − tanh(log(1 + exp {z}))²) σ({z}))"

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = Z tanh(log(1 + e^Z))."""
        return x * m.tanh(m.softplus(x))

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = G + Z (1 − G²) σ(Z), with G = tanh(log(1 + e^Z))."""
        g = torch.tanh(torch.logaddexp(z, torch.zeros_like(z)))
        return g + z * (1 - g * g) * torch.sigmoid(z)


register(nn.GELU, lambda module: GELU() if module.approximate == "none" else GELUTanh())
register(nn.SiLU, lambda module: SiLU())
register(nn.Mish, lambda module: Mish())
