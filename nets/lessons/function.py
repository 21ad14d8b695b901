"""A function of the source documents: written once for every engine, with its Jacobian by hand directly beneath.

Index letters: i output, j input. `forward` is written over the functions `m` of an engine, see
`nets.calculus.mathematics`. `jacobian` is written in NumPy, ∂y/∂x with the axes of y first. Called as f(x), a function
computes in PyTorch.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from nets.calculus.mathematics import TORCH, Mathematics
from nets.verification.derivations.engines.mathematics import NUMPY
from nets.verification.derivations.engines.reading import Array, OutOfReachError


class Function(ABC):
    """y = f(x₁, x₂, …)."""

    formula: ClassVar[str]
    """f for a reader."""
    arguments: ClassVar[tuple[str, ...]] = ("x",)
    """Names of the inputs."""
    output: ClassVar[str] = "y"
    """Name of the result."""

    @abstractmethod
    def forward(self, m: Mathematics, *x: Any) -> Any:
        """x → y, in the arrays of `m`."""

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        """∂y/∂x for each argument, shape (*y.shape, *x.shape)."""
        raise OutOfReachError("its Jacobian is not written by hand.")

    def __call__(self, *x: Tensor) -> Tensor:
        y: Tensor = self.forward(TORCH, *x)
        return y

    def __str__(self) -> str:
        return self.formula


class EntryByEntry(Function):
    """y_i = f(x_i), so ∂y_i/∂x_j = δ_ij f′(x_i)."""

    @abstractmethod
    def slope(self, x: Array) -> Array:
        """f′(x)."""

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        (entries,) = x
        slope = self.slope(entries)
        return (slope if slope.ndim == 0 else np.diag(slope),)


@dataclass(frozen=True)
class Composed(Function):
    """z = g(f(x)), and the chain rule: ∂z_k/∂x_j = Σ_i ∂z_k/∂y_i ∂y_i/∂x_j, a sum over the paths from x_j to z_k.

    Attributes:
        outer: g.
        inner: f, of one argument.
    """

    outer: Function
    inner: Function
    output = "z"

    @property
    def formula(self) -> str:  # type: ignore[override]
        """y = f(x), z = g(y)."""
        return f"{self.inner}, z{str(self.outer).removeprefix('y').replace('x', 'y')}"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return self.outer.forward(m, self.inner.forward(m, *x))

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        outer, inner = self.factors(*x)
        return (np.tensordot(outer, inner, np.ndim(self.inner.forward(NUMPY, *x))),)

    def factors(self, *x: Array) -> tuple[Array, Array]:
        """∂z/∂y and ∂y/∂x."""
        (outer,) = self.outer.jacobian(np.asarray(self.inner.forward(NUMPY, *x)))
        (inner,) = self.inner.jacobian(*x)
        return outer, inner


@dataclass(frozen=True)
class Stacked(Function):
    """y_i = f(x) for i = 1 … times: the same number several times."""

    inner: Function
    times: int

    @property
    def formula(self) -> str:  # type: ignore[override]
        return f"{self.inner}, {self.times} times"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.stack([self.inner.forward(m, *x)] * self.times)

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        return tuple(np.stack([block] * self.times) for block in self.inner.jacobian(*x))
