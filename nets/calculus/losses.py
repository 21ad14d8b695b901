"""Losses, each with ∂ℓ/∂Y in closed form directly beneath its value.

Index letters: n sample, k output. A loss is a mean over the samples, so that micro-batches weigh by their share of them.
Source of the formulas: Bishop, "Pattern Recognition and Machine Learning" (2006), sections 3.1.1 and 4.3.4.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nets.errors import InputError


class Loss(nn.Module, ABC):
    """ℓ(Y, T), one number for a batch, and ∂ℓ/∂Y_nk."""

    @abstractmethod
    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """ℓ."""

    @abstractmethod
    def gradient(self, y: Tensor, target: Tensor) -> Tensor:
        """∂ℓ/∂Y_nk, the cotangent with which the chain rule begins."""

    @abstractmethod
    def check(self, y: Tensor, target: Tensor) -> None:
        """Raise InputError unless `target` is what this loss compares an output such as `y` with."""


class MeanSquaredError(Loss):
    """ℓ = 1/(N K) Σ_nk (Y_nk − T_nk)². Shapes: Y and T (N, K)."""

    def forward(self, y: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """ℓ = 1/(N K) Σ_nk (Y_nk − T_nk)²."""
        return ((y - target) ** 2).mean()

    def gradient(self, y: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """∂ℓ/∂Y_nk = 2 (Y_nk − T_nk) / (N K)."""
        return (y - target) * (2 / y.numel())

    def check(self, y: Tensor, target: Tensor) -> None:
        if target.shape != y.shape or not target.is_floating_point():
            raise InputError(
                f"mean squared error was given targets of shape {tuple(target.shape)} and type {target.dtype} for outputs of "
                f"shape {tuple(y.shape)}; expected one number for each output: set the last of the network's sizes to the "
                "width of the targets, or use cross_entropy for classes."
            )


class CrossEntropy(Loss):
    """ℓ = −1/N Σ_n log P_n,T(n), with P_nk = e^Y_nk / Σ_m e^Y_nm. Shapes: Y (N, K), the logits; T (N,), the classes."""

    def forward(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """ℓ = −1/N Σ_n log P_n,T(n)."""
        return -torch.log_softmax(y, 1).gather(1, target[:, None]).mean()

    def gradient(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
        """∂ℓ/∂Y_nk = (P_nk − δ_k,T(n)) / N."""
        minus_one = torch.full_like(y[:, :1], -1)
        return torch.softmax(y, 1).scatter_add(1, target[:, None], minus_one) / len(y)

    def check(self, y: Tensor, target: Tensor) -> None:
        if target.dtype != torch.int64 or target.shape != y.shape[:1]:
            raise InputError(
                f"cross entropy was given targets of shape {tuple(target.shape)} and type {target.dtype} for {len(y)} samples; "
                "expected the class of each sample as an integer: set data.targets=classes, or use mean_squared_error."
            )
        if len(target) and not 0 <= int(target.min()) <= int(target.max()) < y.shape[1]:
            raise InputError(
                f"cross entropy was given the classes {int(target.min())} to {int(target.max())} for {y.shape[1]} outputs; "
                "expected each class to have an output: set the last of the network's sizes to the number of classes."
            )


LOSSES: dict[str, type[Loss]] = {"mean_squared_error": MeanSquaredError, "cross_entropy": CrossEntropy}
