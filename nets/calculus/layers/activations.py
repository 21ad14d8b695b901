"""Activations, each with its slope in closed form directly beneath its forward.

Source of the formulas: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323
(1986).
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.layer import Layer
from nets.calculus.layers.conversion import register
from nets.calculus.mathematics import Mathematics
from nets.settings import enter

ACTIVATIONS: dict[str, type["Activation"]] = {}
"""Each activation under its name, as `mlp(activation=...)` takes it."""


class Activation(Layer):
    """Y_ni = f(Z_ni), entry by entry: ∂Y_ni/∂Z_nj = δ_ij f′(Z_ni).

    A subclass defines `forward`, or `function`, and `slope`; `symbol` says how the slope is written. With

        class Softsign(nets.Activation, known_as="softsign"):

    it is known to `nets.mlp(..., activation="softsign")` as well.

    Raises:
        InputError: for a name that another activation has.
    """

    elementwise = True

    def __init_subclass__(cls, *, known_as: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        enter(ACTIVATIONS, known_as, cls)

    @abstractmethod
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′(Z_ni), from the input or the output, whichever is cheaper."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → v_ni f′(Z_ni)."""
        return v * self.slope(x, y)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_ni → f′(Z_ni) t_ni."""
        return t * self.slope(x, y)


class Tanh(Activation, known_as="tanh"):
    """Y = tanh Z."""

    symbol = "(1 − {y}²)"

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = tanh Z."""
        return m.tanh(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1 − Y²."""
        return 1 - y * y


class Sigmoid(Activation, known_as="sigmoid"):
    """Y = 1 / (1 + e^−Z)."""

    symbol = "{y}(1 − {y})"

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = 1 / (1 + e^−Z)."""
        return m.sigmoid(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = Y (1 − Y)."""
        return y * (1 - y)


class ReLU(Activation, known_as="relu"):
    """Y = max(Z, 0)."""

    symbol = "[{z} > 0]"

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = max(Z, 0)."""
        return m.relu(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1 where Z > 0, else 0; at the kink Z = 0, where no derivative exists, 0 as in PyTorch."""
        return (z > 0).to(z.dtype)


class Softplus(Activation, known_as="softplus"):
    """Y = log(1 + e^Z), exact for every Z (`torch.nn.Softplus` is the identity from Z = 20 on, which is off by
    2e-9)."""

    symbol = "σ({z})"

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = log(1 + e^Z)."""
        return m.softplus(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1 / (1 + e^−Z)."""
        return torch.sigmoid(z)


class Sin(Activation, known_as="sin"):
    """Y = sin Z."""

    symbol = "cos {z}"

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = sin Z."""
        return m.sin(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = cos Z."""
        return torch.cos(z)


class Identity(Activation, known_as="identity"):
    """Y = Z."""

    symbol = ""

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y = Z."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Y = Z, as a copy: autograd treats an output that is its own input, or a view of it, as a special case."""
        return x.clone()

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1."""
        return torch.ones_like(z)


register(nn.Tanh, lambda module: Tanh())
register(nn.Sigmoid, lambda module: Sigmoid())
register(nn.ReLU, lambda module: ReLU())
register(nn.Softplus, lambda module: Softplus() if (module.beta, module.threshold) == (1, 20) else None)
register(nn.Identity, lambda module: Identity())
