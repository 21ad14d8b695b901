"""∂Y/∂θ by the chain rule, written by hand in NumPy: beside each value goes its derivative along some directions.

This is forward mode on dual numbers z + ε ż. The derivative of each operation of the forward is stated here. No slope
or pullback of a layer and no other program is used; only the forward is shared with the layers. Derivatives are
computed from the input, in forms that neither overflow nor cancel; source: Abramowitz, Stegun, "Handbook of
Mathematical Functions", 4.5 and 7.1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from nets.calculus.mathematics import Mathematics
from nets.calculus.network import Network
from nets.verification.derivations.engines.mathematics import NUMPY, sigmoid
from nets.verification.derivations.engines.reading import Array, OutOfReachError, forward, read, tensors

MOST_TANGENT_NUMBERS = 2**21
"""Numbers in the largest derivative that is held at once: the directions are taken in blocks."""


@dataclass(frozen=True, eq=False)
class Dual:
    """z + ε ż.

    Attributes:
        value: z.
        tangent: ż along every direction, with one more axis at the end; None for zero.
    """

    value: Array
    tangent: Array | None = None

    __array_ufunc__ = None  # so that `array * dual` calls Dual.__rmul__

    @property
    def shape(self) -> tuple[int, ...]:
        """The dtype of z."""
        return self.value.shape

    def along(self, factor: Any) -> "Array | None":
        """factor · ż, for a factor with the shape of z."""
        return None if self.tangent is None else np.asarray(factor)[..., None] * self.tangent

    def __add__(self, other: Any) -> "Dual":
        other = _dual(other)
        return Dual(
            self.value + other.value, _sum(self.along(np.ones_like(other.value)), other.along(np.ones_like(self.value)))
        )

    def __mul__(self, other: Any) -> "Dual":
        other = _dual(other)
        return Dual(self.value * other.value, _sum(self.along(other.value), other.along(self.value)))

    def __truediv__(self, other: Any) -> "Dual":
        other = _dual(other)
        return Dual(
            self.value / other.value,
            _sum(self.along(1 / other.value), other.along(-self.value / other.value**2)),
        )

    def __pow__(self, power: float) -> "Dual":
        return Dual(self.value**power, self.along(power * self.value ** (power - 1)))

    def __neg__(self) -> "Dual":
        return Dual(-self.value, self.along(-np.ones_like(self.value)))

    def __sub__(self, other: Any) -> "Dual":
        return self + -_dual(other)

    def __rsub__(self, other: Any) -> "Dual":
        return _dual(other) - self

    def __rtruediv__(self, other: Any) -> "Dual":
        return _dual(other) / self

    def __matmul__(self, other: Any) -> "Dual":
        other = _dual(other)
        by_self = None if self.tangent is None else _along_last(lambda t: t @ other.value, self.tangent)
        by_other = None if other.tangent is None else _along_last(lambda t: self.value @ t, other.tangent)
        return Dual(self.value @ other.value, _sum(by_self, by_other))

    def __rmatmul__(self, other: Any) -> "Dual":
        return _dual(other) @ self

    def __abs__(self) -> "Dual":
        return Dual(np.abs(self.value), self.along(np.sign(self.value)))

    def __getitem__(self, index: Any) -> "Dual":
        tangent = (
            None if self.tangent is None else self.tangent[(*index, slice(None)) if isinstance(index, tuple) else index]
        )
        return Dual(self.value[index], tangent)

    __radd__, __rmul__ = __add__, __mul__


def _along_last(f: Callable[[Array], Array], tangent: Array) -> Array:
    """f of the derivative along each direction."""
    return np.stack([f(tangent[..., direction]) for direction in range(tangent.shape[-1])], -1)


def _dual(value: Any) -> Dual:
    return value if isinstance(value, Dual) else Dual(np.asarray(value, dtype=np.float64))


def _sum(one: Array | None, other: Array | None) -> Array | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _entrywise(f: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Callable[[Any], Dual]:
    """f and f′, entry by entry."""

    def function(z: Any) -> Dual:
        z = _dual(z)
        return Dual(np.asarray(f(z.value)), z.along(slope(z.value)))

    return function


def _additive(f: Callable[..., Array]) -> Callable[..., Dual]:
    """A sum of entries, whose derivative is the same sum of derivatives."""

    def function(z: Any, axis: int | None = None, **options: Any) -> Dual:
        z = _dual(z)
        if z.tangent is None:
            return Dual(np.asarray(f(z.value, axis=axis, **options)))
        axes: Any = tuple(range(z.value.ndim)) if axis is None else axis % z.value.ndim
        return Dual(np.asarray(f(z.value, axis=axis, **options)), np.asarray(f(z.tangent, axis=axes, **options)))

    return function


def _sech_squared(z: Array) -> Array:
    """1 / cosh² z = 4 e^−2|z| / (1 + e^−2|z|)²."""
    e = np.exp(-2 * np.abs(z))
    return np.asarray(4 * e / (1 + e) ** 2)


def _where_positive(x: Any, a: Any, b: Any) -> Dual:
    chosen, a, b = _dual(x).value > 0, _dual(a), _dual(b)
    return Dual(np.where(chosen, a.value, b.value), _sum(a.along(chosen * 1.0), b.along(~chosen * 1.0)))


def _linear(x: Dual, weight: Dual, bias: Dual | None = None) -> Dual:
    """Σ_j W_ij x_j + B_i: its derivative is Σ_j (W_ij ẋ_j + Ẇ_ij x_j) + Ḃ_i."""
    by_x = None if x.tangent is None else np.moveaxis(np.tensordot(x.tangent, weight.value, (-2, 1)), -1, -2)
    by_weight = None if weight.tangent is None else np.tensordot(x.value, weight.tangent, (-1, 1))
    y = Dual(NUMPY.linear(x.value, weight.value), _sum(by_x, by_weight))
    return y if bias is None else y + bias


def _stack(duals: Sequence[Any]) -> Dual:
    duals = [_dual(one) for one in duals]
    value = np.stack([one.value for one in duals])
    width = next((one.tangent.shape[-1] for one in duals if one.tangent is not None), None)
    if width is None:
        return Dual(value)
    return Dual(value, np.stack([np.zeros((*o.value.shape, width)) if o.tangent is None else o.tangent for o in duals]))


def _reshape(z: Any, shape: tuple[int, ...]) -> Dual:
    z = _dual(z)
    value = z.value.reshape(shape)
    return Dual(value, None if z.tangent is None else z.tangent.reshape(*value.shape, z.tangent.shape[-1]))


def _not_detached(_: Any) -> Any:
    raise OutOfReachError("a number detached from its derivative has none by hand.")


DUAL = Mathematics(
    array=_dual,
    exp=_entrywise(np.exp, np.exp),
    log=_entrywise(np.log, lambda z: 1 / z),
    sqrt=_entrywise(np.sqrt, lambda z: 0.5 / np.sqrt(z)),
    sin=_entrywise(np.sin, np.cos),
    cos=_entrywise(np.cos, lambda z: -np.sin(z)),
    tanh=_entrywise(np.tanh, _sech_squared),
    sigmoid=_entrywise(sigmoid, lambda z: _sech_squared(z / 2) / 4),
    erfc=_entrywise(NUMPY.erfc, lambda z: -2 / math.sqrt(math.pi) * np.exp(-z * z)),
    softplus=_entrywise(NUMPY.softplus, sigmoid),
    relu=_entrywise(NUMPY.relu, lambda z: np.where(z > 0, 1.0, 0.0)),
    where_positive=_where_positive,
    sum=_additive(np.sum),
    mean=_additive(np.mean),
    reshape=_reshape,
    cumsum=_additive(np.cumsum),
    stack=_stack,
    linear=_linear,
    detach=_not_detached,
)


def jacobians(network: Network, x: Tensor) -> dict[str, Tensor]:
    """∂Y_nk/∂θ, shape (N, *K, *θ.shape), for every parameter, and ∂Y_nk/∂X_nj, shape (N, *K, *S), under 'input'.

    Raises:
        InputError: unless X is a batch (N, *S) in the network's precision.
        OutOfReachError: for a layer whose forward is written for PyTorch alone.
    """
    parameters, points = read(network, x)
    constants = {name: Dual(numbers) for name, numbers in parameters.items()}
    found = {}
    for name, numbers in (*parameters.items(), ("input", points)):
        # The outputs of a sample depend on that sample alone, so all samples are moved at once.
        moved = numbers[0] if name == "input" else numbers
        blocks = []
        for unit in _directions(moved):
            point = Dual(numbers, np.broadcast_to(unit, (*numbers.shape, unit.shape[-1])))
            theta = constants if name == "input" else {**constants, name: point}
            y = forward(network.parts, DUAL, theta, point if name == "input" else Dual(points))
            zero = np.zeros((*y.value.shape, unit.shape[-1]))
            blocks.append(zero if y.tangent is None else np.broadcast_to(y.tangent, zero.shape))
        found[name] = np.concatenate(blocks, -1).reshape(*blocks[0].shape[:-1], *moved.shape)
    return tensors(network, found)


def _directions(point: Array) -> list[Array]:
    """The unit vectors of a point, in blocks of shape (*point.shape, directions)."""
    size = point.size
    width = max(1, MOST_TANGENT_NUMBERS // size)
    every = [np.arange(start, min(start + width, size)) for start in range(0, size, width)]
    return [(np.arange(size)[:, None] == columns).astype(np.float64).reshape(*point.shape, -1) for columns in every]
