"""Pooling: the largest number of each window, and the settings that it shares with the mean (see `averaging`).

Index letters: n sample, c channel, l position of the output, p position of the input.

The largest number X_nc,p(l) of a window passes v_ncl to its own position p(l) and to no other. Source: Zhou, Chellappa,
"Computation of optical flow using a neural network", ICNN (1988).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets import validation
from nets.calculus.layer import Layer
from nets.calculus.layers.affine import Size
from nets.calculus.layers.conversion import register
from nets.calculus.layers.convolution import expect_window, per_axis
from nets.errors import InputError

Stride = Size | None
"""From one window to the next; None for the size of the window."""


class Pool(Layer):
    """A layer over windows: settings that the pools share.

    Args:
        kernel_size: numbers of a window, one number or one for each axis; so are the next ones.
        stride: from one window to the next; the kernel size if not given.
        padding: positions added on both sides, at most half of the kernel.
        ceil_mode: whether there is one more window where the last positions would be left out.

    Raises:
        InputError: for an argument out of range, an X with another number of axes, and a window larger than its input.
    """

    unit_axis = 1
    axes: ClassVar[int]
    """Axes of positions."""

    def __init__(self, kernel_size: Size, stride: Stride = None, padding: Size = 0, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size = per_axis("kernel_size", kernel_size, self.axes)
        self.stride = self.kernel_size if stride is None else per_axis("stride", stride, self.axes)
        self.padding = per_axis("padding", padding, self.axes, least=0)
        if any(2 * zeros > size for zeros, size in zip(self.padding, self.kernel_size, strict=True)):
            raise InputError(
                f"padding is {self.padding} and kernel_size {self.kernel_size}; expected a padding of at most half of "
                "the kernel, so that each window meets its input."
            )
        self.ceil_mode = validation.yes_or_no("ceil_mode", ceil_mode)

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}"


class MaxPool(Pool):
    """Y_ncl = max over the window l of X_nc, and ∂Y_ncl/∂X_ncp = [p is p(l)], with p(l) the position of the largest.

    Where several numbers are the largest, p(l) is the first of them as in PyTorch; no derivative exists there.

    Shapes: X (N, C, *positions), Y the same with fewer positions.

    Args:
        kernel_size, stride, padding, ceil_mode: see `Pool`; what is added counts as −∞.
        dilation: from one number of a window to the next.
    """

    def __init__(
        self, kernel_size: Size, stride: Stride = None, padding: Size = 0, dilation: Size = 1, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = per_axis("dilation", dilation, self.axes)

    def forward(self, x: Tensor) -> Tensor:
        """Y_ncl = X_nc,p(l)."""
        expect_positions(self, x, self.axes)
        expect_window(self, x, self.kernel_size, self.padding, self.dilation)
        return self._pooled(x)[0]

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ncl → Σ_l v_ncl [p = p(l)]."""
        more, where = v.shape[: v.ndim - y.ndim], self.positions(x)
        flat = v.reshape(*more, *where.shape)
        pulled = torch.zeros(*more, *x.shape[:2], math.prod(x.shape[2:]), dtype=v.dtype, device=v.device)
        return pulled.scatter_add(-1, where.expand(flat.shape), flat).reshape(*more, *x.shape)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_ncp → t_nc,p(l)."""
        more, where = t.shape[: t.ndim - x.ndim], self.positions(x)
        flat = t.reshape(*more, *x.shape[:2], -1)
        return flat.gather(-1, where.expand(*more, *where.shape)).reshape(*more, *y.shape)

    def positions(self, x: Tensor) -> Tensor:
        """p(l), counted in the order of `flatten`, of shape (N, C, windows)."""
        return self._pooled(x)[1].flatten(2)

    def _pooled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled: Callable[..., Any] = F.max_pool1d if self.axes == 1 else F.max_pool2d
        settings = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        y, positions = pooled(x, *settings, return_indices=True)
        return y, positions


class MaxPool1d(MaxPool):
    """The largest number of each window, X of shape (N, C, L): see `MaxPool`."""

    axes = 1


class MaxPool2d(MaxPool):
    """The largest number of each window, X of shape (N, C, H, W): see `MaxPool`."""

    axes = 2


def expect_positions(layer: nn.Module, x: Tensor, axes: int) -> None:
    """InputError unless X has the shape (N, C, *positions) with so many axes of positions."""
    if x.ndim != 2 + axes:
        raise InputError(
            f"a {type(layer).__name__} was given X of shape {tuple(x.shape)}; expected {2 + axes} axes: samples, "
            f"channels, and {axes} of positions."
        )


def _max_pool(kind: type[MaxPool], module: Any) -> MaxPool | None:
    """None where the module returns the positions as well."""
    settings = (module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    return None if module.return_indices else kind(*settings)


register(nn.MaxPool1d, functools.partial(_max_pool, MaxPool1d))
register(nn.MaxPool2d, functools.partial(_max_pool, MaxPool2d))
