"""Normalization of each channel over a batch.

Index letters: n and m samples, c channel, s and t positions. With the mean and the variance of a channel over all
samples and positions of the batch,

    r_c = (var_ns X_ncs + ε)^−½    and    H_ncs = (X_ncs − mean_ns X_ncs) r_c,

so in training a sample's output depends on every sample of the batch:

    ∂Y_ncs/∂X_mct = W_c r_c (δ_nm δ_st − 1/(N S) − H_ncs H_mct / (N S)).

In evaluation mode the mean and the variance are constants, and ∂Y_ncs/∂X_mct = W_c r_c δ_nm δ_st. Source: Ioffe,
Szegedy, arXiv:1502.03167.
"""

from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets import validation
from nets.calculus.layers.affine import ChannelNorm, along_channels, expect_channels
from nets.calculus.layers.conversion import register, sharing
from nets.errors import InputError


class BatchNorm(ChannelNorm):
    """Y_ncs = W_c (X_ncs − mean_c) / √(var_c + ε) + B_c.

    In training the mean and the variance are those of the batch, Σ (X − mean)² / (N S), and the running ones move
    towards them: running ← (1 − momentum) running + momentum · batch, where the variance of the batch is
    Σ (X − mean)² / (N S − 1). In evaluation mode they are the running ones, or those of the batch where none are
    tracked.

    Shapes: X (N, C, *positions), Y the same; W, B and the running statistics (C,). Parameters and buffers are named as
    in `torch.nn`.

    A sample has no gradient of its own in training, since its loss depends on the others, so `sample_gradients` and
    `sample_norms` exist in evaluation mode alone.

    Args:
        num_features: C.
        eps: ε.
        momentum: of the running statistics; None for the mean over all batches.
        affine: whether there are W and B.
        track_running_stats: whether there are running statistics.

    Raises:
        InputError: for an argument out of range, an X with other channels or axes, and in training for an X with one
            number of each channel.
    """

    counts: ClassVar[tuple[int, ...]]
    """The numbers of axes that X may have."""

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(validation.whole("num_features", num_features, 1), eps, affine)
        self.num_features, self._held = num_features, False
        self.momentum = momentum if momentum is None else validation.number("momentum", momentum, least=0, most=1)
        validation.yes_or_no("track_running_stats", track_running_stats)
        self.register_buffer("running_mean", torch.zeros(num_features) if track_running_stats else None)
        self.register_buffer("running_var", torch.ones(num_features) if track_running_stats else None)
        count = torch.zeros((), dtype=torch.int64) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)

    def forward(self, x: Tensor) -> Tensor:
        """Y_ncs = W_c H_ncs + B_c; in training the running statistics move."""
        expect_channels(self, x, self.num_features, self.counts)
        if self.of_batch and x.numel() == self.num_features:
            raise InputError(
                f"a {type(self).__name__} in training mode was given X of shape {tuple(x.shape)}, with one number of "
                "each channel; expected several, since the variance of one number is 0: give more samples, or "
                "call eval()."
            )
        moving = bool(self.moving())
        share = 0.0 if self.momentum is None else self.momentum
        if moving:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        running = (self.running_mean, self.running_var) if moving or not self.of_batch else (None, None)
        return F.batch_norm(x, *running, self.weight, self.bias, self.of_batch, share, self.eps)

    def hold(self) -> None:
        """Let no later forward pass move the running statistics."""
        self._held = True

    def moving(self) -> tuple[str, ...]:
        """The running statistics and their count, in training."""
        moves = self.training and not self._held and self.running_mean is not None
        return ("running_mean", "running_var", "num_batches_tracked") if moves else ()

    @property
    def of_batch(self) -> bool:
        """Whether mean and variance are those of the batch, which couples its samples."""
        return self.training or self.running_mean is None

    def normal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """H_ncs, and r_c with axes of size 1 for the positions."""
        axes = self._axes(x)
        if self.of_batch:
            centred = x - x.mean(axes, keepdim=True)
            r = (centred.square().mean(axes, keepdim=True) + self.eps).rsqrt()[0]
        else:
            assert self.running_mean is not None and self.running_var is not None
            centred = x - along_channels(self.running_mean, x)
            r = along_channels((self.running_var + self.eps).rsqrt(), x)
        return centred * r, r

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: Σ_s v_ncs H_ncs and B: Σ_s v_ncs, in evaluation mode.

        Raises:
            InputError: where the samples are coupled.
        """
        if self.of_batch:
            raise InputError(
                f"a {type(self).__name__} normalizes by the statistics of the batch, so a sample has no gradient of "
                "its own; expected evaluation mode with running statistics: call network.eval(), or leave sample norms "
                "out."
            )
        return super().sample_gradients(v, x, y)

    def extra_repr(self) -> str:
        return f"{self.num_features}" + ("" if self.weight is not None else ", affine=False")

    def _axes(self, x: Tensor) -> tuple[int, ...]:
        """The axes of the samples and of the positions, counted from the last."""
        return (-x.ndim, *range(2 - x.ndim, 0))

    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        """r_c (u_ncs − mean_ns u_ncs − H_ncs mean_ns (u_ncs H_ncs)); in evaluation mode r_c u_ncs."""
        h, r = self.normal(x)
        if not self.of_batch:
            return r * u
        axes = self._axes(x)
        return r * (u - u.mean(axes, keepdim=True) - h * (u * h).mean(axes, keepdim=True))


class BatchNorm1d(BatchNorm):
    """Y_ncl = W_c (X_ncl − mean_c) / √(var_c + ε) + B_c, X of shape (N, C) or (N, C, L): see `BatchNorm`."""

    counts = (2, 3)


class BatchNorm2d(BatchNorm):
    """Y_nchw = W_c (X_nchw − mean_c) / √(var_c + ε) + B_c, X of shape (N, C, H, W): see `BatchNorm`."""

    counts = (4,)


Made = TypeVar("Made", BatchNorm1d, BatchNorm2d)


def _from_torch(kind: type[Made], module: nn.BatchNorm1d | nn.BatchNorm2d) -> Made:
    settings = (module.eps, module.momentum, module.affine, module.track_running_stats)
    return sharing(kind(module.num_features, *settings), module)


register(nn.BatchNorm1d, lambda module: _from_torch(BatchNorm1d, module))
register(nn.BatchNorm2d, lambda module: _from_torch(BatchNorm2d, module))
