"""∂Y/∂θ of a whole network as a linear map, kept as factors where the layer that owns θ has factors.

Index letters: n sample, k output of the network, i output and j input of the layer that owns the parameter, and
A_nki = ∂Y_nk/∂Z_ni with Z the layer's own output.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

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


@dataclass(frozen=True, slots=True)
class DenseJacobian(Jacobian):
    """∂Y_nk/∂θ with all of its entries, for a layer that has no factors of its own.

    Attributes:
        entries: of shape (N, K, *θ.shape).
    """

    entries: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.entries.shape)

    def dense(self) -> Tensor:
        """∂Y_nk/∂θ."""
        return self.entries

    def vjp(self, v: Tensor) -> Tensor:
        """Σ_nk v_nk ∂Y_nk/∂θ, of the shape of θ."""
        self._expect("v", v, self.shape[:2])
        return torch.tensordot(v, self.entries, dims=2)

    def jvp(self, t: Tensor) -> Tensor:
        """Σ ∂Y_nk/∂θ t, shape (N, K)."""
        self._expect("t", t, self.shape[2:])
        return (self.entries * t).flatten(2).sum(2)

    def norm(self) -> Tensor:
        """(Σ over all entries of the square)^½."""
        return self.entries.square().sum().sqrt()

    def entry(self, n: int, k: int, *index: int) -> float:
        """∂Y_nk/∂θ."""
        return float(self.entries[n, k][index])
