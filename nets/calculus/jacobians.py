"""The chain rule in closed form: the Jacobian of a whole network by every parameter and by its input, kept as factors.

Index letters: n sample, k output of the network, i output and j input of the layer that owns the parameter. With
A_nki = ∂Y_nk/∂Z_ni, Z the layer's own output, which the chain rule carries from the last layer back to the first,

    ∂Y_nk/∂W_ij = A_nki X_nj        ∂Y_nk/∂B_i = A_nki        ∂Y_nk/∂X_nj = Σ_i A_nki W_ij

The weight Jacobian has N·K·I·J entries but only N·(K·I + J) numbers; it is never formed unless `.dense()` is called.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nets.calculus.layers import Linear
from nets.calculus.network import Network
from nets.errors import InputError


class Jacobian(ABC):
    """∂Y_nk/∂θ with the axes (n, k, *θ.shape)."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(N, K, *θ.shape)."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Every entry, in a tensor of `shape`."""

    @abstractmethod
    def vjp(self, v: Tensor) -> Tensor:
        """v_nk → Σ_nk v_nk ∂Y_nk/∂θ, the gradient of Σ v Y."""

    @abstractmethod
    def jvp(self, t: Tensor) -> Tensor:
        """t → Σ ∂Y_nk/∂θ t, how fast Y_nk changes along t."""

    @abstractmethod
    def norm(self) -> Tensor:
        """(Σ over all entries of the square)^½."""

    @abstractmethod
    def entry(self, n: int, k: int, *index: int) -> float:
        """One entry, at the index (n, k, *index); nothing else is formed."""

    def _expect(self, name: str, given: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(given.shape) != shape:
            raise InputError(f"{name} has the shape {tuple(given.shape)}; expected {shape}, for a Jacobian of shape {self.shape}.")


@dataclass(frozen=True, slots=True)
class WeightJacobian(Jacobian):
    """∂Y_nk/∂W_ij = A_nki X_nj.

    Attributes:
        a: A_nki = ∂Y_nk/∂Z_ni.
        x: X_nj, what the layer was given.
    """

    a: Float[Tensor, "n k i"]
    x: Float[Tensor, "n j"]

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.a.shape, self.x.shape[1])

    def dense(self) -> Tensor:
        """A_nki X_nj."""
        n, k, i = self.a.nonzero(as_tuple=True)
        known = self.a.dtype in (torch.float32, torch.float64) and bool(torch.isfinite(self.x).all())
        if not known or self.a.device.type != "cpu" or 8 * len(n) > self.a.numel():
            return self.a[..., None] * self.x[:, None, None, :]
        # Where A_nki = δ_ki f′ nearly all is zero. NumPy asks for memory that is zero to begin with, and need not be written.
        every = torch.from_numpy(np.zeros(self.shape, self.a.numpy().dtype))
        every[n, k, i] = self.a[n, k, i, None] * self.x[n]
        return every

    def vjp(self, v: Tensor) -> Tensor:
        """Σ_n (Σ_k v_nk A_nki) X_nj, shape (I, J)."""
        self._expect("v", v, self.shape[:2])
        return torch.einsum("nk,nki->ni", v, self.a).mT @ self.x

    def jvp(self, t: Tensor) -> Tensor:
        """Σ_i A_nki (Σ_j t_ij X_nj), shape (N, K)."""
        self._expect("t", t, self.shape[2:])
        return torch.einsum("nki,ni->nk", self.a, self.x @ t.mT)

    def norm(self) -> Tensor:
        """(Σ_n Σ_ki A_nki² Σ_j X_nj²)^½, since the square of a product of factors is the product of their squares."""
        return (self.a.square().sum((1, 2)) * self.x.square().sum(1)).sum().sqrt()

    def entry(self, n: int, k: int, *index: int) -> float:
        """A_nki X_nj."""
        i, j = index
        return float(self.a[n, k, i] * self.x[n, j])


@dataclass(frozen=True, slots=True)
class BiasJacobian(Jacobian):
    """∂Y_nk/∂B_i = A_nki."""

    a: Float[Tensor, "n k i"]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.a.shape)

    def dense(self) -> Tensor:
        """A_nki."""
        return self.a.contiguous()

    def vjp(self, v: Tensor) -> Tensor:
        """Σ_nk v_nk A_nki, shape (I,)."""
        self._expect("v", v, self.shape[:2])
        return torch.einsum("nk,nki->i", v, self.a)

    def jvp(self, t: Tensor) -> Tensor:
        """Σ_i A_nki t_i, shape (N, K)."""
        self._expect("t", t, self.shape[2:])
        return self.a @ t

    def norm(self) -> Tensor:
        """(Σ_nki A_nki²)^½."""
        return self.a.square().sum().sqrt()

    def entry(self, n: int, k: int, *index: int) -> float:
        """A_nki."""
        (i,) = index
        return float(self.a[n, k, i])


class InputJacobian(Jacobian):
    """∂Y_nk/∂X_nj: a sample's outputs depend on that sample alone, so there is one n, and no sum over it.

    Args:
        shape: (N, K, J).
        pulled_back: gives ∂Y_nk/∂X_nj. It is called when that is first asked for, as the last step of the chain rule takes as long
            as all that the parameters need.
    """

    def __init__(self, shape: tuple[int, ...], pulled_back: Callable[[], Float[Tensor, "n k j"]]) -> None:
        self._shape, self._pulled_back = shape, pulled_back

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @functools.cached_property
    def a(self) -> Float[Tensor, "n k j"]:
        """∂Y_nk/∂X_nj."""
        with torch.no_grad():
            return self._pulled_back()

    def dense(self) -> Tensor:
        """∂Y_nk/∂X_nj."""
        return self.a.contiguous()

    def vjp(self, v: Tensor) -> Tensor:
        """Σ_k v_nk ∂Y_nk/∂X_nj, shape (N, J)."""
        self._expect("v", v, self.shape[:2])
        return torch.einsum("nk,nkj->nj", v, self.a)

    def jvp(self, t: Tensor) -> Tensor:
        """Σ_j ∂Y_nk/∂X_nj t_nj, shape (N, K)."""
        self._expect("t", t, (self.shape[0], self.shape[2]))
        return torch.einsum("nkj,nj->nk", self.a, t)

    def norm(self) -> Tensor:
        """(Σ_nkj (∂Y_nk/∂X_nj)²)^½."""
        return self.a.square().sum().sqrt()

    def entry(self, n: int, k: int, *index: int) -> float:
        """∂Y_nk/∂X_nj."""
        (j,) = index
        return float(self.a[n, k, j])


@torch.no_grad()
def jacobians(network: Network, x: Float[Tensor, "n j"]) -> dict[str, Jacobian]:
    """∂Y/∂θ of every parameter, under its name, and ∂Y/∂X under 'input'.

    Args:
        network: layers in sequence, X (N, J) → Y (N, K).
        x: X_nj.

    Raises:
        InputError: unless X is a batch (N, J) in the network's precision.
    """
    if not isinstance(network, Network):
        raise InputError(
            f"jacobians was given a {type(network).__name__}; expected a nets.Network, whose layers know their derivatives: "
            "convert a torch.nn.Sequential with nets.Network.from_torch."
        )
    network.check(x)
    values = network.trace(x)
    y = values[-1]
    samples, outputs = y.shape
    # A is kept with k in front, so that every layer's pullback broadcasts over it; ∂Y_nk/∂Y_ni = δ_ki to begin with.
    unit = torch.eye(outputs, dtype=y.dtype, device=y.device)[:, None, :].expand(outputs, samples, outputs)
    found: dict[str, Jacobian] = {}
    for index, a in network.pulled_back(unit, values):
        layer = network.layers[index]
        if isinstance(layer, Linear):
            factor = a.transpose(0, 1)
            if layer.bias is not None:
                found[f"{index}.bias"] = BiasJacobian(factor)
            found[f"{index}.weight"] = WeightJacobian(factor, values[index])
    # Its parameters as they are now, whatever is made of them before somebody asks.
    first, last = network.layers[0], a
    first = first.at({name: parameter.detach().clone() for name, parameter in first.named_parameters()})
    whole = InputJacobian((samples, outputs, x.shape[1]), lambda: first.pullback(last, x, values[1]).transpose(0, 1))
    return {name: found[name] for name, _ in network.named_parameters()} | {"input": whole}
