"""Layers, each with its derivative in closed form directly beneath its forward.

Index letters: n sample, i output of the layer, j input of the layer. A cotangent v_ni and a tangent t_nj may carry further
axes in front (the outputs k of a whole network, say); every formula here broadcasts over them.

Source of the formulas: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323 (1986);
GELU: Hendrycks, Gimpel, arXiv:1606.08415.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nets.calculus import arguments
from nets.calculus.jacobian import BiasJacobian, Jacobian, WeightJacobian
from nets.calculus.layer import Layer
from nets.calculus.notation.factors import Factor, Place, subscript
from nets.errors import InputError


class Linear(Layer):
    """Y_ni = Σ_j W_ij X_nj + B_i.

    Shapes: W (I, J), B (I,), X (N, J), Y (N, I). Parameters are named as in `torch.nn.Linear`.

    Args:
        in_features: J.
        out_features: I.
        bias: whether there is a B.
        gain: W_ij is drawn uniformly from ±gain·√(6 / (I + J)); B starts at zero (Glorot, Bengio, AISTATS 2010).
        generator: where the draw comes from, on the CPU; the seed 0 if not given.

    Raises:
        InputError: for an argument out of range, or a weight for which there is no memory.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        arguments.units("in_features", in_features)
        arguments.units("out_features", out_features)
        arguments.yes_or_no("bias", bias)
        largest = arguments.largest_gain(in_features, out_features)
        bound = arguments.gain(gain, largest) * math.sqrt(6 / (in_features + out_features))
        self.weight = nn.Parameter(arguments.uniform(out_features, in_features, bound, arguments.generator(generator)))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Float[Tensor, "*n j"]) -> Float[Tensor, "*n i"]:
        """Y_ni = Σ_j W_ij X_nj + B_i."""
        if x.shape[-1] != self.weight.shape[1]:
            raise InputError(
                f"a Linear layer with {self.weight.shape[1]} inputs was given X with {x.shape[-1]} features: "
                "the sizes of the network must begin with the width of the data."
            )
        return F.linear(x, self.weight, self.bias)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """∂Y_ni/∂X_nj = W_ij, so v_ni → Σ_i v_ni W_ij."""
        return v @ self.weight

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """∂Y_ni/∂X_nj = W_ij, so t_nj → Σ_j W_ij t_nj."""
        return t @ self.weight.mT

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """∂Y_nk/∂W_ij = δ_ki X_nj and ∂Y_nk/∂B_i = δ_ki, so W: Σ_n v_ni X_nj and B: Σ_n v_ni."""
        gradients = {"weight": v.mT @ x}
        if self.bias is not None:
            gradients["bias"] = v.sum(-2)
        return gradients

    def parameter_pushforward(self, tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Y is linear in W and B, so t → Σ_j t^W_ij X_nj + t^B_i, which is the layer with the tangents as parameters."""
        return self.at(tangents)(x)

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        """∂Y_nk/∂W_ij = A_nki X_nj and ∂Y_nk/∂B_i = A_nki, as factors."""
        factor = a.transpose(0, 1)
        bias: dict[str, Jacobian] = {} if self.bias is None else {"bias": BiasJacobian(factor)}
        return {"weight": WeightJacobian(factor, x), **bias}

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """∂Y_nk/∂W_ij = δ_ki X_nj is an outer product, so W: ‖v_n‖ ‖X_n‖, and B: ‖v_n‖ (Goodfellow, arXiv:1510.01799)."""
        norm = torch.linalg.vector_norm(v, dim=-1)
        norms = {"weight": norm * torch.linalg.vector_norm(x, dim=-1)}
        if self.bias is not None:
            norms["bias"] = norm
        return norms

    def backward_gain(self, x: Tensor, y: Tensor) -> float:
        """‖W‖_F / √I, the same for every sample."""
        return float(torch.linalg.vector_norm(self.weight, dtype=torch.float64) / self.weight.shape[0] ** 0.5)

    def factors(self, place: Place, i: str, j: str) -> list[Factor]:
        """∂Y_i/∂X_j = W_ij."""
        if not place.of_vectors:
            return super().factors(place, i, j)
        number = "" if place.number is None else place.number
        return [Factor(f"W{number}_{subscript(i, j)}", (i, j), lambda n: self.weight)]

    def parameter_factors(self, place: Place, name: str, index: Sequence[str], unit: str) -> tuple[str, str, list[Factor]]:
        """∂Y_k/∂W_ij = δ_ki X_j and ∂Y_k/∂B_i = δ_ki."""
        if not place.of_vectors:
            return super().parameter_factors(place, name, index, unit)
        written = f"{name[0].upper()}_{subscript(*index)}"
        if name == "bias":
            return written, index[0], []
        x = Factor(f"{place.x_name}_{subscript(index[1])}", (index[1],), lambda n: place.values()[0][n])
        return written, index[0], [x]

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}" + ("" if self.bias is not None else ", bias=False")


class Activation(Layer):
    """Y_ni = f(Z_ni), entry by entry: ∂Y_ni/∂Z_nj = δ_ij f′(Z_ni)."""

    elementwise = True

    @abstractmethod
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′(Z_ni), from the input or the output, whichever is cheaper."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → v_ni f′(Z_ni)."""
        return v * self.slope(x, y)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_ni → f′(Z_ni) t_ni."""
        return t * self.slope(x, y)


class Tanh(Activation):
    """Y = tanh Z."""

    symbol = "(1 − {y}²)"

    def forward(self, x: Tensor) -> Tensor:
        """Y = tanh Z."""
        return torch.tanh(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1 − Y²."""
        return 1 - y * y


class Sigmoid(Activation):
    """Y = 1 / (1 + e^−Z)."""

    symbol = "{y}(1 − {y})"

    def forward(self, x: Tensor) -> Tensor:
        """Y = 1 / (1 + e^−Z)."""
        return torch.sigmoid(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = Y (1 − Y)."""
        return y * (1 - y)


class ReLU(Activation):
    """Y = max(Z, 0)."""

    symbol = "[{z} > 0]"

    def forward(self, x: Tensor) -> Tensor:
        """Y = max(Z, 0)."""
        return torch.relu(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1 where Z > 0, else 0; at the kink Z = 0, where no derivative exists, 0 as in PyTorch."""
        return (z > 0).to(z.dtype)


class Softplus(Activation):
    """Y = log(1 + e^Z), exact for every Z (`torch.nn.Softplus` turns into the identity, off by 2e-9, from Z = 20 on)."""

    symbol = "σ({z})"

    def forward(self, x: Tensor) -> Tensor:
        """Y = log(1 + e^Z)."""
        return torch.logaddexp(x, torch.zeros_like(x))

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1 / (1 + e^−Z)."""
        return torch.sigmoid(z)


class GELU(Activation):
    """Y = Z Φ(Z), with Φ the distribution function of the standard normal."""

    symbol = "(Φ({z}) + {z} φ({z}))"

    def forward(self, x: Tensor) -> Tensor:
        """Y = Z Φ(Z), Φ(Z) = ½ erfc(−Z/√2)."""
        return x * torch.erfc(-x * math.sqrt(0.5)) / 2

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = Φ(Z) + Z φ(Z), φ(Z) = e^(−Z²/2) / √(2π)."""
        return torch.erfc(-z * math.sqrt(0.5)) / 2 + z * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


class Sin(Activation):
    """Y = sin Z."""

    symbol = "cos {z}"

    def forward(self, x: Tensor) -> Tensor:
        """Y = sin Z."""
        return torch.sin(x)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = cos Z."""
        return torch.cos(z)


class Identity(Activation):
    """Y = Z."""

    symbol = ""

    def forward(self, x: Tensor) -> Tensor:
        """Y = Z."""
        # A copy, since autograd treats an output that is its own input, or a view of it, as a special case.
        return x.clone()

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """f′ = 1."""
        return torch.ones_like(z)


ACTIVATIONS: dict[str, type[Activation]] = {
    layer.__name__.lower(): layer for layer in (Tanh, Sigmoid, ReLU, Softplus, GELU, Sin, Identity)
}
