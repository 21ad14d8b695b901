"""Layers that give a sample another shape: Flatten, Unflatten and Reshape.

Y has the numbers of X in the same order, so ∂Y_ni/∂X_nj = δ_ij with i and j counted in the order of `flatten`.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nets import validation
from nets.calculus.layer import Layer
from nets.calculus.layers.affine import sizes
from nets.calculus.layers.conversion import register
from nets.calculus.mathematics import Mathematics
from nets.errors import InputError


class Shape(Layer):
    """Y_ni = X_ni, with the numbers of a sample in another shape."""

    @abstractmethod
    def of(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a sample of Y for one of X."""

    def forward(self, x: Tensor) -> Tensor:
        """Y_ni = X_ni, as a copy: autograd treats an output that is a view of its input as a special case."""
        return x.reshape(len(x), *self.of(tuple(x.shape[1:]))).clone()

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y_ni = X_ni."""
        samples, *sample = tuple(x.shape)
        return m.reshape(x, (samples, *self.of(tuple(sample))))

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → v_ni in the shape of X."""
        return v.reshape(*v.shape[: v.ndim - y.ndim], *x.shape)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_ni → t_ni in the shape of Y."""
        return t.reshape(*t.shape[: t.ndim - x.ndim], *y.shape)


class Flatten(Shape):
    """Some axes become one: (N, C, H, W) → (N, C H W).

    Args:
        start_dim: the first of these axes, counted with that of the samples; 1 or later.
        end_dim: the last of them; −1 for the last of X.

    Raises:
        InputError: for the axis of the samples, and for axes that X does not have.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = validation.whole("start_dim", start_dim, -validation.LARGEST_WHOLE)
        self.end_dim = validation.whole("end_dim", end_dim, -validation.LARGEST_WHOLE)

    def of(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """The sizes of the axes from `start_dim` to `end_dim` multiplied."""
        first, last = _axis(self, "start_dim", self.start_dim, sample), _axis(self, "end_dim", self.end_dim, sample)
        if first > last:
            raise InputError(
                f"start_dim is {self.start_dim} and end_dim {self.end_dim} for samples of shape {sample}; expected "
                "start_dim at end_dim or before it."
            )
        return (*sample[:first], math.prod(sample[first : last + 1]), *sample[last + 1 :])

    def extra_repr(self) -> str:
        return f"{self.start_dim}, {self.end_dim}"


class Unflatten(Shape):
    """One axis becomes several: (N, C H W) → (N, C, H, W).

    Args:
        dim: the axis, counted with that of the samples; 1 or later, or −1 for the last.
        unflattened_size: the sizes in its place, one of which may be −1.

    Raises:
        InputError: for the axis of the samples, and for sizes whose product is not that of the axis.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = validation.whole("dim", dim, -validation.LARGEST_WHOLE)
        self.unflattened_size = sizes("unflattened_size", unflattened_size, least=-1)

    def of(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """The sizes in place of that of the axis."""
        axis = _axis(self, "dim", self.dim, sample)
        return (*sample[:axis], *_filled(self, self.unflattened_size, sample[axis]), *sample[axis + 1 :])

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.unflattened_size}"


class Reshape(Shape):
    """Each sample in the given shape: (N, *S) → (N, *shape).

    Args:
        shape: sizes, one of which may be −1.

    Raises:
        InputError: for sizes whose product is not that of a sample of X.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = sizes("shape", shape, least=-1)

    def of(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """The given shape."""
        return _filled(self, self.shape, math.prod(sample))

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shape))


def _axis(layer: nn.Module, name: str, axis: int, sample: tuple[int, ...]) -> int:
    """The axis counted within a sample."""
    axes = 1 + len(sample)
    found = axis if axis >= 0 else axis + axes
    if not 1 <= found < axes:
        raise InputError(
            f"{name} of a {type(layer).__name__} is {axis} and samples have the shape {sample}; expected an axis after "
            "the first, which is that of the samples."
        )
    return found - 1


def _filled(layer: nn.Module, given: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The sizes with a number in place of −1."""
    known = math.prod(count for count in given if count != -1)
    free = given.count(-1)
    if free > 1 or 0 in given or size % known or (not free and size != known):
        raise InputError(
            f"a {type(layer).__name__} to {given} was given {size} numbers; expected sizes whose product is {size}, "
            "one of which may be -1."
        )
    return tuple(size // known if count == -1 else count for count in given)


register(nn.Flatten, lambda module: Flatten(module.start_dim, module.end_dim))
register(nn.Unflatten, lambda module: Unflatten(module.dim, module.unflattened_size))
