"""Pooling by the mean of each window: windows of one size, or so many windows.

Index letters: n sample, c channel, l and m position of the output along each axis, p and q position of the input.

The mean over a window of an image is a mean over rows of means over columns, so with one matrix for each axis

    Y_nclm = Σ_pq P_lp Q_mq X_ncpq

and the pullback multiplies by the same matrices. Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning
applied to document recognition", Proceedings of the IEEE (1998).
"""

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets import validation
from nets.calculus.layer import Layer
from nets.calculus.layers.affine import Size
from nets.calculus.layers.conversion import register
from nets.calculus.layers.convolution import expect_window, per_axis
from nets.calculus.layers.pooling import Pool, Stride, expect_positions
from nets.calculus.mathematics import Mathematics


class Average(Layer):
    """Y_nclm = Σ_pq P_lp Q_mq X_ncpq: a mean over windows, with one matrix for each axis of positions."""

    axes: ClassVar[int]
    """Axes of positions."""

    @abstractmethod
    def averaged(self, x: Tensor) -> Tensor:
        """Y, in one call of PyTorch."""

    @abstractmethod
    def matrices(self, positions: Sequence[int]) -> list[Tensor]:
        """P_lp and Q_mq in float64, or P_lp alone: the share of each position in each window, for so many positions."""

    def forward(self, x: Tensor) -> Tensor:
        """Y_nclm = Σ_pq P_lp Q_mq X_ncpq."""
        expect_positions(self, x, self.axes)
        return self.averaged(x)

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y_nclm = Σ_pq P_lp Q_mq X_ncpq."""
        *rows, columns = (m.array(matrix.numpy()) for matrix in self.matrices(tuple(x.shape)[2:]))
        y = m.linear(x, columns)
        return rows[0] @ y if rows else y

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_nclm → Σ_lm v_nclm P_lp Q_mq."""
        *rows, columns = (matrix.to(v) for matrix in self.matrices(x.shape[2:]))
        pulled = v @ columns
        return rows[0].mT @ pulled if rows else pulled

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_ncpq → Σ_pq P_lp Q_mq t_ncpq: Y is linear in X."""
        *rows, columns = (matrix.to(t) for matrix in self.matrices(x.shape[2:]))
        pushed = t @ columns.mT
        return rows[0] @ pushed if rows else pushed


class AvgPool(Average, Pool):
    """Y_ncl = (Σ_p in window l X_ncp) / (numbers of the window).

    Shapes: X (N, C, *positions), Y the same with fewer positions.

    Args:
        kernel_size, stride, padding, ceil_mode: see `Pool`; what is added counts as 0.
        count_include_pad: whether the padding counts among the numbers of a window.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Stride = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = validation.yes_or_no("count_include_pad", count_include_pad)

    def averaged(self, x: Tensor) -> Tensor:
        """Y_ncl, in one call of PyTorch."""
        expect_window(self, x, self.kernel_size, self.padding, (1,) * self.axes)
        settings = (self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
        averaged: Callable[..., Tensor] = F.avg_pool1d if self.axes == 1 else F.avg_pool2d
        return averaged(x, *settings)

    def matrices(self, positions: Sequence[int]) -> list[Tensor]:
        """P_lp = 1 / (numbers of window l) for p in window l, else 0."""
        axes = zip(positions, self.kernel_size, self.stride, self.padding, strict=True)
        return [_windows(*axis, self.ceil_mode, self.count_include_pad) for axis in axes]


class AvgPool1d(AvgPool):
    """The mean of each window, X of shape (N, C, L): see `AvgPool`."""

    axes = 1


class AvgPool2d(AvgPool):
    """The mean of each window, X of shape (N, C, H, W): see `AvgPool`."""

    axes = 2


class AdaptiveAvgPool(Average):
    """Y_ncl = mean of X_ncp over ⌊l L / O⌋ ≤ p < ⌈(l + 1) L / O⌉: so many windows, whatever the size of the input.

    Shapes: X (N, C, *positions), Y (N, C, *output_size).

    Args:
        output_size: O, one number or one for each axis; None for as many as the input has.

    Raises:
        InputError: for an argument out of range, and an X with another number of axes.
    """

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        given = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * self.axes
        wanted = per_axis("output_size", [1 if size is None else size for size in given], self.axes)
        self.output_size = tuple(None if free is None else size for free, size in zip(given, wanted, strict=True))

    def averaged(self, x: Tensor) -> Tensor:
        """Y_ncl, in one call of PyTorch."""
        sizes = self._sizes(x.shape[2:])
        averaged: Callable[..., Tensor] = F.adaptive_avg_pool1d if self.axes == 1 else F.adaptive_avg_pool2d
        return averaged(x, sizes)

    def matrices(self, positions: Sequence[int]) -> list[Tensor]:
        """P_lp = 1 / (numbers of window l) for p in window l, else 0."""
        return [_shares(size, wanted) for size, wanted in zip(positions, self._sizes(positions), strict=True)]

    def extra_repr(self) -> str:
        return f"{self.output_size}"

    def _sizes(self, positions: Sequence[int]) -> tuple[int, ...]:
        pairs = zip(positions, self.output_size, strict=True)
        return tuple(size if wanted is None else wanted for size, wanted in pairs)


class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """So many means, X of shape (N, C, L): see `AdaptiveAvgPool`."""

    axes = 1


class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """So many means along each axis, X of shape (N, C, H, W): see `AdaptiveAvgPool`."""

    axes = 2


# Made by NumPy, so that a recording of the operations of PyTorch does not depend on what has been kept.
@functools.cache
def _windows(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool, count_include_pad: bool) -> Tensor:
    """P_lp of windows of one size."""
    room = size + 2 * padding - kernel
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:  # the last window would begin in the padding
        count -= 1
    starts = np.arange(count)[:, None] * stride - padding
    ends = np.minimum(starts + kernel, size + padding)
    inside = (np.arange(size) >= starts) & (np.arange(size) < ends)
    return torch.from_numpy(inside / (ends - starts if count_include_pad else inside.sum(1, keepdims=True)))


@functools.cache
def _shares(size: int, wanted: int) -> Tensor:
    """P_lp of as many windows as are wanted."""
    windows = np.arange(wanted)[:, None]
    inside = (np.arange(size) >= windows * size // wanted) & (np.arange(size) < -(-(windows + 1) * size // wanted))
    return torch.from_numpy(inside / inside.sum(1, keepdims=True))


def _avg_pool(kind: type[AvgPool], module: Any) -> AvgPool | None:
    """None where the module divides by another number than that of the window."""
    settings = (module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad)
    return None if getattr(module, "divisor_override", None) is not None else kind(*settings)


register(nn.AvgPool1d, functools.partial(_avg_pool, AvgPool1d))
register(nn.AvgPool2d, functools.partial(_avg_pool, AvgPool2d))
register(nn.AdaptiveAvgPool1d, lambda module: AdaptiveAvgPool1d(module.output_size))
register(nn.AdaptiveAvgPool2d, lambda module: AdaptiveAvgPool2d(module.output_size))
