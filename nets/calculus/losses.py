"""Losses, each with ∂ℓ/∂Y in closed form directly beneath its value.

Index letters: n sample, k output. A loss is a mean over the samples, or their sum; samples that are masked are no part of it.
Source of the formulas: Bishop, "Pattern Recognition and Machine Learning" (2006), sections 3.1.1 and 4.3.4.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nets.errors import InputError


class Loss(nn.Module, ABC):
    """ℓ(Y, T), one number for a batch, and ∂ℓ/∂Y_nk.

    Args:
        reduction: 'mean' for 1/C Σ_n ℓ_n, with C the number of samples that count; 'sum' for Σ_n ℓ_n.
    """

    recordable: ClassVar[bool] = True
    """Whether training may record its operations once and repeat them, see `Layer.recordable`."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise InputError(f"reduction is {reduction!r}; expected 'mean' or 'sum'.")
        self.reduction = reduction

    @abstractmethod
    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """ℓ."""

    @abstractmethod
    def gradient(self, y: Tensor, target: Tensor) -> Tensor:
        """∂ℓ/∂Y_nk, the cotangent with which the chain rule begins."""

    @abstractmethod
    def check(self, y: Tensor, target: Tensor) -> None:
        """Raise InputError unless `target` is what this loss compares an output such as `y` with."""

    def counted(self, target: Tensor) -> int:
        """C, the number of samples that count: a micro-batch weighs by its share of them."""
        return len(target)


class MeanSquaredError(Loss):
    """ℓ = 1/(N K) Σ_nk (Y_nk − T_nk)²; as a sum, 1/K Σ_nk (Y_nk − T_nk)². Shapes: Y and T (N, K)."""

    def forward(self, y: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """ℓ = 1/(N K) Σ_nk (Y_nk − T_nk)²."""
        mean = ((y - target) ** 2).mean()
        return mean if self.reduction == "mean" else mean * len(y)

    def gradient(self, y: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """∂ℓ/∂Y_nk = 2 (Y_nk − T_nk) / (N K)."""
        return (y - target) * (2 / (y.numel() if self.reduction == "mean" else y.shape[1]))

    def check(self, y: Tensor, target: Tensor) -> None:
        if target.shape != y.shape or not target.is_floating_point():
            raise InputError(
                f"mean squared error was given targets of shape {tuple(target.shape)} and type {target.dtype} for outputs of "
                f"shape {tuple(y.shape)}; expected one number for each output: set the last of the network's sizes to the "
                "width of the targets, or use cross_entropy for classes."
            )
        if target.dtype != y.dtype:
            raise InputError(
                f"mean squared error was given targets of type {target.dtype} for outputs of type {y.dtype}; expected one "
                "precision: call targets.to(…), or network.double()."
            )


class CrossEntropy(Loss):
    """ℓ = −1/N Σ_n log P_n,T(n), with P_nk = e^Y_nk / Σ_m e^Y_nm. Shapes: Y (N, K), the logits; T (N,), the classes."""

    def forward(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """ℓ = −1/N Σ_n log P_n,T(n)."""
        logs = torch.log_softmax(y, 1).gather(1, target[:, None])
        return -(logs.mean() if self.reduction == "mean" else logs.sum())

    def gradient(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
        """∂ℓ/∂Y_nk = (P_nk − δ_k,T(n)) / N."""
        minus_one = torch.full_like(y[:, :1], -1)
        return torch.softmax(y, 1).scatter_add(1, target[:, None], minus_one) / (len(y) if self.reduction == "mean" else 1)

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


class MaskedCrossEntropy(CrossEntropy):
    """ℓ = −1/C Σ_n [T(n) ≥ 0] log P_n,T(n), with C = Σ_n [T(n) ≥ 0]: a sample, or a token, of a class below 0 does not count.

    The class is −100 where PyTorch marks what is to be ignored. Where nothing counts, ℓ and its gradient are 0.
    Shapes: Y (N, K), the logits; T (N,), the classes.
    """

    def forward(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """ℓ = −1/C Σ_n [T(n) ≥ 0] log P_n,T(n)."""
        logs = torch.log_softmax(y, 1).gather(1, target.clamp(min=0)[:, None])[:, 0]
        total = -(logs * (target >= 0)).sum()
        return total / self._divisor(target) if self.reduction == "mean" else total

    def gradient(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
        """∂ℓ/∂Y_nk = [T(n) ≥ 0] (P_nk − δ_k,T(n)) / C."""
        minus_one = torch.full_like(y[:, :1], -1)
        every = torch.softmax(y, 1).scatter_add(1, target.clamp(min=0)[:, None], minus_one) * (target >= 0)[:, None]
        return every / self._divisor(target) if self.reduction == "mean" else every

    def check(self, y: Tensor, target: Tensor) -> None:
        super().check(y, target.clamp(min=0) if target.dtype == torch.int64 else target)

    def counted(self, target: Tensor) -> int:
        return int((target >= 0).sum())

    @staticmethod
    def _divisor(target: Tensor) -> Tensor:
        return (target >= 0).sum().clamp(min=1)


LOSSES: dict[str, type[Loss]] = {"mean_squared_error": MeanSquaredError, "cross_entropy": CrossEntropy}
