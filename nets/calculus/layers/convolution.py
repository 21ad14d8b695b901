"""Convolutions over positions and over images.

Index letters: n sample, o output channel, c input channel, l position of the output, s place in the kernel. The
formulas are written for one axis of positions; an image has two, and each letter l and s is then a pair.

With a stride, a dilation and zeros around X, the place s of the kernel meets the position
p(l, s) = l stride + s dilation − padding of X, which is one number of a window:

    U_nl,cs = X_nc,p(l,s)        Y_nol = Σ_cs W_ocs U_nl,cs + B_o

so a convolution is a Linear layer over windows, at every position alike. Source: LeCun, Bottou, Bengio, Haffner,
"Gradient-based learning applied to document recognition", Proceedings of the IEEE (1998); Dumoulin, Visin,
arXiv:1603.07285.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv1d_weight, conv2d_weight

from nets import validation
from nets.calculus.layers.affine import Size, divides, expect_channels, sizes
from nets.calculus.layers.conversion import register, sharing
from nets.calculus.layers.initialization import WeightedSum
from nets.calculus.norms import norms_of_products
from nets.errors import InputError, quoted


class Convolution(WeightedSum):
    """Y_nol = Σ_cs W_ocs X_nc,p(l,s) + B_o, with p(l, s) = l stride + s dilation − padding; X is 0 outside.

    With groups, the channels are divided in order, and an output channel sees the input channels of its own group.

    Shapes: W (O, C / groups, *kernel_size), B (O,), X (N, C, *positions), Y (N, O, *positions of the output), of which
    each axis has ⌊(L + 2 padding − dilation (kernel_size − 1) − 1) / stride⌋ + 1. Parameters are named as in
    `torch.nn`.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: places of the kernel, one number or one for each axis; so are the next three.
        stride, padding, dilation: of p(l, s).
        groups: divides C and O.
        bias: whether there is a B.
        gain: W is drawn uniformly from ±gain·√(6 / (inputs + outputs of a unit)); B starts at zero (Glorot, Bengio,
            AISTATS 2010).
        generator: of the draw, on the CPU; one with the seed 0 if not given.

    Raises:
        InputError: for an argument out of range, groups that do not divide the channels, an X with other channels, and
            a kernel larger than its input.
    """

    unit_axis = 1
    axes: ClassVar[int]
    """Axes of positions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        for name, count in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            validation.whole(name, count, 1)
        divides("groups", groups, "in_channels", in_channels)
        divides("groups", groups, "out_channels", out_channels)
        places = per_axis("kernel_size", kernel_size, self.axes)
        units = (in_channels + out_channels) // groups * math.prod(places)
        super().__init__((out_channels, in_channels // groups, *places), units, bias, gain, generator)
        self.kernel_size = places
        self.stride = per_axis("stride", stride, self.axes)
        self.padding = per_axis("padding", padding, self.axes, least=0)
        self.dilation = per_axis("dilation", dilation, self.axes)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups

    def forward(self, x: Tensor) -> Tensor:
        """Y_nol = Σ_cs W_ocs X_nc,p(l,s) + B_o."""
        expect_channels(self, x, self.in_channels, [2 + self.axes])
        expect_window(self, x, self.kernel_size, self.padding, self.dilation)
        return self._convolved(x, self.bias)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_nol → Σ_os v_nol W_ocs at the position p(l, s): the transposed convolution, whose kernel is not flipped."""
        reached = [
            (out - 1) * stride - 2 * padding + dilation * (size - 1) + 1
            for out, size, stride, padding, dilation in self._each_axis(y.shape[2:])
        ]
        missed = [size - reach for size, reach in zip(x.shape[2:], reached, strict=True)]
        transposed = F.conv_transpose1d if self.axes == 1 else F.conv_transpose2d
        settings = (self.stride, self.padding, missed, self.groups, self.dilation)
        pulled = transposed(v.flatten(0, v.ndim - y.ndim), self.weight, None, *settings)
        return pulled.reshape(*v.shape[: v.ndim - y.ndim], *x.shape)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nc → Σ_cs W_ocs t_nc,p(l,s): Y is linear in X."""
        pushed = self._convolved(t.flatten(0, t.ndim - x.ndim), None)
        return pushed.reshape(*t.shape[: t.ndim - x.ndim], *y.shape)

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: Σ_nl v_nol X_nc,p(l,s) and B: Σ_nl v_nol."""
        correlated: Callable[..., Tensor] = conv1d_weight if self.axes == 1 else conv2d_weight
        settings = (self.stride, self.padding, self.dilation, self.groups)
        gradients = {"weight": correlated(x, self.weight.shape, v, *settings)}
        return gradients if self.bias is None else gradients | {"bias": v.sum((0, *range(2, y.ndim)))}

    def parameter_pushforward(self, tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Y is linear in W and B, so the layer with the tangents as parameters."""
        return self.at(tangents)(x)

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: Σ_l v_nol U_nl,cs and B: Σ_l v_nol."""
        by_group, windows = self._as_products(v, x)
        gradients = {"weight": (by_group.mT @ windows).reshape(len(x), *self.weight.shape)}
        return gradients if self.bias is None else gradients | {"bias": v.flatten(2).sum(2)}

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: ‖Σ_l v_nol U_nl,cs‖ = (Σ_lm (Σ_o v_nol v_nom) (Σ_cs U_nl,cs U_nm,cs))^½, and B: ‖Σ_l v_nol‖."""
        by_group, windows = self._as_products(v, x)
        norms = {"weight": torch.linalg.vector_norm(norms_of_products(by_group, windows), dim=1)}
        return norms if self.bias is None else norms | {"bias": torch.linalg.vector_norm(v.flatten(2).sum(2), dim=1)}

    def extra_repr(self) -> str:
        settings = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        return settings + ("" if self.bias is not None else ", bias=False")

    def _convolved(self, x: Tensor, bias: Tensor | None) -> Tensor:
        convolved = F.conv1d if self.axes == 1 else F.conv2d
        settings = (self.stride, self.padding, self.dilation, self.groups)
        return convolved(x, self.weight, bias, *settings)

    def _each_axis(self, positions: Sequence[int]) -> Any:
        return zip(positions, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)

    def _as_products(self, v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """v and U with the axes (n, group, l, o) and (n, group, l, cs), so that the gradient of W is vᵀ U."""
        lift = (1,) * (2 - self.axes)  # one axis of positions is an image of one row
        image = x.reshape(*x.shape[:2], *lift, *x.shape[2:])
        settings = [(*lift, *self.dilation), ((0,) * len(lift) + self.padding), (*lift, *self.stride)]
        windows = F.unfold(image, (*lift, *self.kernel_size), *settings)
        return tuple(t.reshape(len(x), self.groups, -1, windows.shape[-1]).mT for t in (v, windows))  # type: ignore[return-value]


class Conv1d(Convolution):
    """Y_nol = Σ_cs W_ocs X_nc,p(l,s) + B_o, X of shape (N, C, L): see `Convolution`."""

    axes = 1


class Conv2d(Convolution):
    """Y_nolm = Σ_cst W_ocst X_nc,p(l,s),p(m,t) + B_o, X of shape (N, C, H, W): see `Convolution`."""

    axes = 2


def per_axis(name: str, value: Size, axes: int, least: int = 1) -> tuple[int, ...]:
    """One number for each axis of positions; a single one counts for all.

    Raises:
        InputError: for another count, or a number below `least`.
    """
    found = sizes(name, value, least)
    if len(found) not in (1, axes):
        raise InputError(f"{name} is {quoted(value)}; expected one whole number, or {axes} of them, one for each axis.")
    return found * axes if len(found) == 1 else found


def expect_window(
    layer: nn.Module, x: Tensor, kernel: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> None:
    """InputError unless the window fits in X and the zeros around it, along each axis of positions."""
    spans = [step * (size - 1) + 1 for size, step in zip(kernel, dilation, strict=True)]
    padded = [size + 2 * zeros for size, zeros in zip(x.shape[2:], padding, strict=True)]
    if any(span > size for span, size in zip(spans, padded, strict=True)):
        raise InputError(
            f"a {type(layer).__name__} whose window spans {tuple(spans)} was given X of shape {tuple(x.shape)}, which "
            f"is {tuple(padded)} with its padding; expected a window that fits in X: make kernel_size or "
            "dilation smaller."
        )


Made = TypeVar("Made", Conv1d, Conv2d)


def _from_torch(kind: type[Made], module: Any) -> Made | None:
    """None for padding other than zeros, and for 'same' with a kernel that needs more zeros on one side."""
    spans = [step * (size - 1) for size, step in zip(module.kernel_size, module.dilation, strict=True)]
    if module.padding_mode != "zeros" or (module.padding == "same" and any(span % 2 for span in spans)):
        return None
    padding: int | tuple[int, ...] = module.padding
    named: dict[str, int | tuple[int, ...]] = {"valid": 0, "same": tuple(span // 2 for span in spans)}
    if isinstance(module.padding, str):
        padding = named[module.padding]
    layer = kind(
        module.in_channels,
        module.out_channels,
        module.kernel_size,
        module.stride,
        padding,
        module.dilation,
        module.groups,
        module.bias is not None,
    )
    return sharing(layer, module)


register(nn.Conv1d, lambda module: _from_torch(Conv1d, module))
register(nn.Conv2d, lambda module: _from_torch(Conv2d, module))
