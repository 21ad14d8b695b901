"""Activations that are one function on one side of a point and another one beyond it: LeakyReLU, ELU and Hardtanh.

Each slope at such a point is that of PyTorch, since no derivative exists there. Sources: LeakyReLU: Maas, Hannun, Ng,
"Rectifier nonlinearities improve neural network acoustic models", ICML (2013); ELU: Clevert, Unterthiner, Hochreiter,
arXiv:1511.07289; Hardtanh: Collobert, "Large scale machine learning", thesis (2004).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets import validation
from nets.calculus.layers.activations import Activation
from nets.calculus.layers.conversion import register
from nets.calculus.mathematics import Mathematics
from nets.errors import InputError


class LeakyReLU(Activation, known_as="leaky_relu"):
    """Y = Z where Z > 0, else a Z.

    Args:
        negative_slope: a.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = validation.number("negative_slope", negative_slope)
        self.symbol = f"([{{z}} > 0] + {_numeral(negative_slope)} [{{z}} ≤ 0])"

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = Z where Z > 0, else a Z."""
        return m.where_positive(x, x, x * self.negative_slope)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1 where Z > 0, else a."""
        return torch.where(z > 0, torch.ones_like(z), self.negative_slope)

    def extra_repr(self) -> str:
        return f"{self.negative_slope:g}"


class ELU(Activation, known_as="elu"):
    """Y = Z where Z > 0, else a (e^Z − 1).

    Args:
        alpha: a.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = validation.number("alpha", alpha)
        self.symbol = f"([{{z}} > 0] + [{{z}} ≤ 0]({{y}} + {_numeral(alpha)}))"

    def forward(self, x: Tensor) -> Tensor:
        """Y = Z where Z > 0, else a (e^Z − 1), without cancellation near 0."""
        return F.elu(x, self.alpha)

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = Z where Z > 0, else a (e^min(Z, 0) − 1)."""
        return m.where_positive(x, x, (m.exp(x - m.relu(x)) - 1) * self.alpha)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1 where Z > 0, else a e^Z."""
        return torch.where(z > 0, 1.0, self.alpha * torch.exp(z.clamp(max=0)))

    def extra_repr(self) -> str:
        return f"{self.alpha:g}"


class Hardtanh(Activation, known_as="hardtanh"):
    """Y = min(max(Z, a), b).

    Args:
        min_val: a.
        max_val: b.

    Raises:
        InputError: unless a < b.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.min_val, self.max_val = validation.number("min_val", min_val), validation.number("max_val", max_val)
        if not self.min_val < self.max_val:
            raise InputError(f"min_val is {min_val} and max_val {max_val}; expected min_val below max_val.")
        self.symbol = f"[{{z}} > {_numeral(min_val)}] [{{z}} < {_numeral(max_val)}]"

    def forward(self, x: Tensor) -> Tensor:
        """Y = min(max(Z, a), b)."""
        return F.hardtanh(x, self.min_val, self.max_val)

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = b where Z > b, a where Z < a, else Z."""
        low, high = m.array(np.asarray(self.min_val)), m.array(np.asarray(self.max_val))
        return m.where_positive(x - high, high, m.where_positive(low - x, low, x))

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1 where a < Z < b, else 0."""
        return ((z > self.min_val) & (z < self.max_val)).to(z.dtype)

    def extra_repr(self) -> str:
        return f"{self.min_val:g}, {self.max_val:g}"


def _numeral(value: float) -> str:
    """The number as a slope is written: without an exponent, in brackets where it is negative."""
    digits = np.format_float_positional(abs(value), trim="-")
    return digits if value >= 0 else f"(−{digits})"


register(nn.LeakyReLU, lambda module: LeakyReLU(module.negative_slope))
register(nn.ELU, lambda module: ELU(module.alpha))
register(nn.Hardtanh, lambda module: Hardtanh(module.min_val, module.max_val))
