"""Normalization within a sample: LayerNorm, RMSNorm and GroupNorm.

Index letters: n sample, j position among the numbers that share one mean and one variance, J how many they are. With

    r_n = (var_j X_nj + ε)^−½    and    H_nj = (X_nj − mean_j X_nj) r_n

every layer here is Y_nj = W_j H_nj + B_j. Its three terms, with u_nj = v_nj W_j, are

    v ∂Y/∂X = r_n (u_nj − mean_j u_nj − H_nj mean_j (u_nj H_nj)).

The first is the scale, the second comes from the mean, and the third from the variance.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets import validation
from nets.calculus.layer import Layer
from nets.calculus.layers.affine import ChannelNorm, Size, affine_tangent, divides, expect_channels, sizes, summed
from nets.calculus.layers.conversion import register, sharing
from nets.calculus.mathematics import Mathematics
from nets.errors import InputError


class LayerNorm(Layer):
    """Y_nj = W_j (X_nj − mean_j X_nj) / √(var_j X_nj + ε) + B_j, j over the last axes.

    The variance is that of the population, Σ_j (X_nj − mean)² / J.

    Shapes: X (N, …, *normalized_shape), Y the same; W and B have the normalized shape. Parameters are named as in
    `torch.nn.LayerNorm`.

    Args:
        normalized_shape: the sizes of the last axes, or the size of the last one.
        eps: ε.
        elementwise_affine: whether there are W and B.
        bias: whether there is B beside W.

    Raises:
        InputError: for an argument out of range, and for an X whose last axes have other sizes.

    Source: Ba, Kiros, Hinton, arXiv:1607.06450.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        normalized_shape: Size,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = sizes("normalized_shape", normalized_shape)
        self.eps = validation.number("eps", eps, least=0)
        affine = validation.yes_or_no("elementwise_affine", elementwise_affine)
        self.weight = nn.Parameter(torch.ones(self.normalized_shape)) if affine else None
        self.bias = nn.Parameter(torch.zeros(self.normalized_shape)) if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Y_nj = W_j H_nj + B_j."""
        self._check(x)
        h = self.normal(x)[0]  # the pullback has the same formula, so that a recording computes it once
        y = h if self.weight is None else h * self.weight
        return y if self.bias is None else y + self.bias

    def function(self, m: Mathematics, x: Any, weight: Any = None, bias: Any = None) -> Any:
        """Y_nj = W_j H_nj + B_j."""
        centred = x - self._mean(m, x)
        y = centred / m.sqrt(self._mean(m, centred * centred) + self.eps)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    def normal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """H_nj and r_n."""
        centred = x - x.mean(self._axes, keepdim=True)
        r = (centred.square().mean(self._axes, keepdim=True) + self.eps).rsqrt()
        return centred * r, r

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_nj → r_n (u_nj − mean_j u_nj − H_nj mean_j (u_nj H_nj)), with u_nj = v_nj W_j."""
        return self._projected(v if self.weight is None else v * self.weight, x)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj → W_j r_n (t_nj − mean_j t_nj − H_nj mean_j (t_nj H_nj)): without W the Jacobian is symmetric."""
        pushed = self._projected(t, x)
        return pushed if self.weight is None else pushed * self.weight

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: Σ_n v_nj H_nj and B: Σ_n v_nj."""
        return self._by_parameter(v, x, tuple(range(x.ndim - len(self.normalized_shape))))

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: v_nj H_nj and B: v_nj, added up over the rows of each sample."""
        return self._by_parameter(v, x, tuple(range(1, x.ndim - len(self.normalized_shape))))

    def parameter_pushforward(self, tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """t → t^W_j H_nj + t^B_j."""
        return affine_tangent(tangents, self.normal(x)[0])

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.normalized_shape)) + ("" if self.weight is not None else ", no weight")

    @property
    def _axes(self) -> tuple[int, ...]:
        """The axes that share a mean, counted from the last: a cotangent may have further axes in front."""
        return tuple(range(-len(self.normalized_shape), 0))

    def _mean(self, m: Mathematics, x: Any) -> Any:
        for axis in self._axes:
            x = m.mean(x, axis=axis, keepdims=True)
        return x

    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        h, r = self.normal(x)
        return r * (u - u.mean(self._axes, keepdim=True) - h * (u * h).mean(self._axes, keepdim=True))

    def _by_parameter(self, v: Tensor, x: Tensor, axes: tuple[int, ...]) -> dict[str, Tensor]:
        found = {}
        if self.weight is not None:
            found["weight"] = summed(v * self.normal(x)[0], axes)
        if self.bias is not None:
            found["bias"] = summed(v, axes)
        return found

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[1:][-len(self.normalized_shape) :]) != self.normalized_shape:
            raise InputError(
                f"a {type(self).__name__} over {self.normalized_shape} was given X of shape {tuple(x.shape)}; expected "
                "an X whose last axes have these sizes, after the axis of the samples."
            )


class RMSNorm(LayerNorm):
    """Y_nj = W_j X_nj / √(mean_j X_nj² + ε), j over the last axes.

    No mean is subtracted, so the pullback has no term for it: with H_nj = X_nj r_n,

        v ∂Y/∂X = r_n (u_nj − H_nj mean_j (u_nj H_nj)).

    Shapes: X (N, …, *normalized_shape), Y the same; W has the normalized shape.

    Args:
        normalized_shape: the sizes of the last axes, or the size of the last one.
        eps: ε; None for the difference between 1 and the next larger number in the precision of X.
        elementwise_affine: whether there is a W.

    Raises:
        InputError: for an argument out of range, and for an X whose last axes have other sizes.

    Source: Zhang, Sennrich, arXiv:1910.07467.
    """

    def __init__(self, normalized_shape: Size, eps: float | None = None, elementwise_affine: bool = True) -> None:
        super().__init__(normalized_shape, 0.0 if eps is None else eps, elementwise_affine, bias=False)
        self._eps_of_precision = eps is None

    def function(self, m: Mathematics, x: Any, weight: Any = None, bias: Any = None) -> Any:
        """Y_nj = W_j H_nj, with ε in float64."""
        y = x / m.sqrt(self._mean(m, x * x) + self._eps(torch.float64))
        return y if weight is None else y * weight

    def normal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """H_nj and r_n."""
        r = (x.square().mean(self._axes, keepdim=True) + self._eps(x.dtype)).rsqrt()
        return x * r, r

    def _eps(self, dtype: torch.dtype) -> float:
        return torch.finfo(dtype).eps if self._eps_of_precision else self.eps

    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        h, r = self.normal(x)
        return r * (u - h * (u * h).mean(self._axes, keepdim=True))


class GroupNorm(ChannelNorm):
    """Y_ncs = W_c H_ncs + B_c, with one mean and one variance for each group of channels c and all positions s.

    Shapes: X (N, C, *S), Y the same; W and B (C,). Parameters are named as in `torch.nn.GroupNorm`.

    Args:
        num_groups: into how many groups the channels are divided, in order.
        num_channels: C, a multiple of `num_groups`.
        eps: ε.
        affine: whether there are W and B.

    Raises:
        InputError: for an argument out of range, groups that do not divide the channels, and an X with another number
            of channels.

    Source: Wu, He, arXiv:1803.08494.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        validation.whole("num_groups", num_groups, 1)
        validation.whole("num_channels", num_channels, 1)
        divides("num_groups", num_groups, "num_channels", num_channels)
        super().__init__(num_channels, eps, affine)
        self.num_groups, self.num_channels = num_groups, num_channels

    def forward(self, x: Tensor) -> Tensor:
        """Y_ncs = W_c H_ncs + B_c."""
        expect_channels(self, x, self.num_channels)
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def function(self, m: Mathematics, x: Any, weight: Any = None, bias: Any = None) -> Any:
        """Y_ncs = W_c H_ncs + B_c."""
        shape = tuple(x.shape)
        grouped = m.reshape(x, (shape[0], self.num_groups, -1))
        centred = grouped - m.mean(grouped, axis=-1, keepdims=True)
        normal = centred / m.sqrt(m.mean(centred * centred, axis=-1, keepdims=True) + self.eps)
        y, channel = m.reshape(normal, shape), (-1, *(1 for _ in shape[2:]))
        y = y if weight is None else y * m.reshape(weight, channel)
        return y if bias is None else y + m.reshape(bias, channel)

    def normal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """H in groups, of shape (N, groups, numbers of a group), and r of shape (N, groups, 1)."""
        grouped = x.reshape(len(x), self.num_groups, -1)
        centred = grouped - grouped.mean(-1, keepdim=True)
        r = (centred.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return centred * r, r

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}" + ("" if self.weight is not None else ", affine=False")

    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        """r (u − mean u − H mean (u H)) within each group."""
        (h, r), grouped = self.normal(x), u.reshape(*u.shape[: u.ndim - x.ndim], len(x), self.num_groups, -1)
        found = r * (grouped - grouped.mean(-1, keepdim=True) - h * (grouped * h).mean(-1, keepdim=True))
        return found.reshape(u.shape)


def _layer_norm(module: nn.LayerNorm) -> LayerNorm:
    layer = LayerNorm(module.normalized_shape, module.eps, module.elementwise_affine)
    return sharing(layer, module)


def _rms_norm(module: nn.RMSNorm) -> RMSNorm:
    return sharing(RMSNorm(module.normalized_shape, module.eps, module.elementwise_affine), module)


def _group_norm(module: nn.GroupNorm) -> GroupNorm:
    return sharing(GroupNorm(module.num_groups, module.num_channels, module.eps, module.affine), module)


register(nn.LayerNorm, _layer_norm)
register(nn.RMSNorm, _rms_norm)
register(nn.GroupNorm, _group_norm)
