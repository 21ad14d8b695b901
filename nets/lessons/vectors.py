"""Functions of vectors and of several arguments, each with its Jacobian by hand directly beneath, if it has one.

Index letters: i output, j input.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from nets.calculus.mathematics import Mathematics
from nets.lessons.function import Function
from nets.verification.derivations.engines.reading import Array


class DetachedSquare(Function):
    """With u as a constant ∂z_i/∂x_j = δ_ij u_i, although z_i = x_i³."""

    formula = "z = u∘x, u = detach(x∘x)"
    output = "z"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.detach(x[0] * x[0]) * x[0]


class Doubling(Function):
    """x is doubled until its norm reaches 1000, and multiplied by 100 where its sum is ≤ 0."""

    formula = "y = k x"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        y = x[0] * 2
        # No doubling takes a norm of zero to 1000.
        while m.sum(abs(y)) > 0 and m.sum(y * y) < 1000**2:
            y = y * 2
        return y if m.sum(y) > 0 else 100 * y


class Sum(Function):
    formula = "y = Σ_j x_j"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.sum(x[0])

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        return (np.ones_like(x[0]),)


class SquaredNorm(Function):
    """Of a matrix, the squared Frobenius norm."""

    formula = "y = ‖x‖²"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.sum(x[0] * x[0])

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        return (2 * x[0],)


class TwiceSquaredNorm(Function):
    formula = "y = 2 xᵀx"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return 2 * m.sum(x[0] * x[0])

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        return (4 * x[0],)


class Polynomials(Function):
    formula = "y = (3x₁², x₁² + 2x₂³, 10x₂)"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        x1, x2 = x[0][0], x[0][1]
        return m.stack([3 * x1**2, x1**2 + 2 * x2**3, 10 * x2])

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        x1, x2 = x[0]
        return (np.array([[6 * x1, 0], [2 * x1, 6 * x2**2], [0, 10]]),)


class Line(Function):
    formula = "y = w x + b"
    arguments = ("x", "w", "b")

    def forward(self, m: Mathematics, *x: Any) -> Any:
        given, w, b = x
        return w * given + b

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        given, w, b = x
        return w, given, np.ones_like(b)


class TwoUses(Function):
    """The two uses of x in x² sin x as two arguments: at u = v = x, the gradient by each is that of one use."""

    formula = "y = u² sin v"
    arguments = ("u", "v")

    def forward(self, m: Mathematics, *x: Any) -> Any:
        u, v = x
        return u**2 * m.sin(v)

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        u, v = x
        return np.asarray(2 * u * np.sin(v)), np.asarray(u**2 * np.cos(v))


class UsedTwice(Function):
    formula = "y = x² sin x"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return TwoUses().forward(m, x[0], x[0])

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        """The sum over the two paths from x to y."""
        first, second = TwoUses().jacobian(x[0], x[0])
        return (first + second,)


@dataclass(frozen=True)
class Times(Function):
    """Attributes:
    a: A_ij, shape (I, J).
    """

    formula = "y = A x"
    a: Array

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.sum(m.array(self.a) * x[0], -1)

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        return (self.a,)


@dataclass(frozen=True)
class RowTimes(Function):
    """Attributes:
    a: A_ji, shape (J, I).
    """

    formula = "y = xᵀA"
    a: Array

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.sum(m.array(self.a.T) * x[0], -1)

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        return (self.a.T,)


@dataclass(frozen=True)
class Quadratic(Function):
    """Attributes:
    a: A_jl, shape (J, J).
    """

    formula = "y = xᵀA x"
    a: Array

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.sum(x[0] * m.sum(m.array(self.a) * x[0], -1))

    def jacobian(self, *x: Array) -> tuple[Array, ...]:
        """Σ_l x_l A_lj + Σ_l A_jl x_l, by the product rule, since x appears twice."""
        return (x[0] @ self.a + self.a @ x[0],)
