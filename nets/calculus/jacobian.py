"""∂Y/∂θ of a whole network as a linear map, kept as factors where the layer that owns θ has factors.

Index letters: n sample, k output of the network, i output and j input of the layer that owns the parameter, and
A_nki = ∂Y_nk/∂Z_ni with Z the layer's own output.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nets.errors import InputError


class Jacobian(ABC):
    """∂Y_nk/∂θ with the axes (n, k, *θ.shape); if a sample of Y has several axes, these replace k."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(N, K, *θ.shape)."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(N, K), the shape of Y."""
        return self.shape[:2]

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
    def entry(self, *index: int) -> float:
        """One entry, at the index (n, *k, *index of θ); nothing else is formed."""

    def _expect(self, name: str, given: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(given.shape) != shape:
            raise InputError(
                f"{name} has the shape {tuple(given.shape)}; expected {shape}, for a Jacobian of shape {self.shape}."
            )


@dataclass(frozen=True, slots=True)
class WeightJacobian(Jacobian):
    """∂Y_nk/∂W_ij = A_nki X_nj.

    Attributes:
        a: A_nki = ∂Y_nk/∂Z_ni.
        x: X_nj, the input of the layer.
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
        # Where A_nki = δ_ki f′ nearly all entries are zero. NumPy gets memory that is zero already, so only the others
        # are written.
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

    def entry(self, *index: int) -> float:
        """A_nki X_nj."""
        n, k, i, j = index
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

    def entry(self, *index: int) -> float:
        """A_nki."""
        return float(self.a[index])


class InputJacobian(Jacobian):
    """∂Y_nk/∂X_nj: a sample's outputs depend on that sample alone, so there is one n, and no sum over it.

    Args:
        y_shape, x_shape: (N, *K) and (N, *S). Below, k means all axes of a sample of Y, and j all axes of a sample of
            X.
        pulled_back: computes ∂Y_nk/∂X_nj, of shape (N, K, *S). It is called at the first use, since this last step of
            the chain rule takes as long as those for all parameters together.
    """

    def __init__(self, y_shape: torch.Size, x_shape: torch.Size, pulled_back: Callable[[], Tensor]) -> None:
        self._y_shape, self._x_shape, self._pulled_back = tuple(y_shape), tuple(x_shape), pulled_back

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self._y_shape, *self._x_shape[1:])

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self._y_shape

    @functools.cached_property
    def a(self) -> Float[Tensor, "n k j"]:
        """∂Y_nk/∂X_nj."""
        with torch.no_grad():
            return self._pulled_back().flatten(2)

    def dense(self) -> Tensor:
        """∂Y_nk/∂X_nj, of shape (N, *K, *S)."""
        return self.a.reshape(self.shape).contiguous()

    def vjp(self, v: Tensor) -> Tensor:
        """Σ_k v_nk ∂Y_nk/∂X_nj, of the shape of X."""
        self._expect("v", v, self._y_shape)
        return torch.einsum("nk,nkj->nj", v.flatten(1), self.a).reshape(self._x_shape)

    def jvp(self, t: Tensor) -> Tensor:
        """Σ_j ∂Y_nk/∂X_nj t_nj, of the shape of Y."""
        self._expect("t", t, self._x_shape)
        return torch.einsum("nkj,nj->nk", self.a, t.flatten(1)).reshape(self._y_shape)

    def norm(self) -> Tensor:
        """(Σ_nkj (∂Y_nk/∂X_nj)²)^½."""
        return self.a.square().sum().sqrt()

    def entry(self, *index: int) -> float:
        """∂Y_nk/∂X_nj."""
        return float(self.a.reshape(self.shape)[index])


@dataclass(frozen=True, slots=True)
class DenseJacobian(Jacobian):
    """∂Y_nk/∂θ with all of its entries, for a layer that has no factors of its own.

    Attributes:
        entries: of shape (N, *K, *θ.shape).
        outputs: axes of a sample of Y.
    """

    entries: Tensor
    outputs: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.entries.shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.shape[: 1 + self.outputs]

    def dense(self) -> Tensor:
        """∂Y_nk/∂θ."""
        return self.entries

    def vjp(self, v: Tensor) -> Tensor:
        """Σ_nk v_nk ∂Y_nk/∂θ, of the shape of θ."""
        self._expect("v", v, self.output_shape)
        return torch.tensordot(v, self.entries, dims=v.ndim)

    def jvp(self, t: Tensor) -> Tensor:
        """Σ ∂Y_nk/∂θ t, of the shape of Y."""
        self._expect("t", t, self.shape[1 + self.outputs :])
        return torch.tensordot(self.entries, t, dims=t.ndim)

    def norm(self) -> Tensor:
        """(Σ over all entries of the square)^½."""
        return self.entries.square().sum().sqrt()

    def entry(self, *index: int) -> float:
        """∂Y_nk/∂θ."""
        return float(self.entries[index])


@dataclass(frozen=True, slots=True)
class SumOfJacobians(Jacobian):
    """∂Y_nk/∂θ of a parameter with several uses: the sum over the uses.

    Attributes:
        parts: of one shape.
    """

    parts: tuple[Jacobian, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.parts[0].output_shape

    def dense(self) -> Tensor:
        """Σ of the parts."""
        return self._sum(part.dense() for part in self.parts)

    def vjp(self, v: Tensor) -> Tensor:
        """Σ_nk v_nk ∂Y_nk/∂θ, of the shape of θ."""
        return self._sum(part.vjp(v) for part in self.parts)

    def jvp(self, t: Tensor) -> Tensor:
        """Σ ∂Y_nk/∂θ t, of the shape of Y."""
        return self._sum(part.jvp(t) for part in self.parts)

    def norm(self) -> Tensor:
        """(Σ over all entries of the square)^½. It forms every entry: norms of parts do not add up."""
        return self.dense().square().sum().sqrt()

    def entry(self, *index: int) -> float:
        """∂Y_nk/∂θ."""
        return sum(part.entry(*index) for part in self.parts)

    @staticmethod
    def _sum(parts: Iterable[Tensor]) -> Tensor:
        return functools.reduce(torch.add, parts)


def add_use(found: dict[str, Jacobian], name: str, jacobian: Jacobian) -> None:
    """Add the Jacobian of one more use of a parameter."""
    found[name] = SumOfJacobians((found[name], jacobian)) if name in found else jacobian
