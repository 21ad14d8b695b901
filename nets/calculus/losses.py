"""Losses, each with ∂ℓ/∂Y in closed form directly beneath its value.

Index letters: n sample, k output. A loss is a mean over the samples, or their sum; masked samples do not count.
Source of the formulas: Bishop, "Pattern Recognition and Machine Learning" (2006), sections 3.1.1 and 4.3.4.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nets.calculus.names import enter
from nets.errors import InputError
from nets.validation import one_of

LOSSES: dict[str, type["Loss"]] = {}
"""Each loss under its name, as the setting `loss` of a run takes it."""


class Loss(nn.Module, ABC):
    """ℓ(Y, T), one number for a batch, and ∂ℓ/∂Y_nk.

    A subclass enters itself in LOSSES with `class Huber(nets.Loss, known_as="huber")`.

    Args:
        reduction: 'mean' for 1/C Σ_n ℓ_n, with C the number of samples that count; 'sum' for Σ_n ℓ_n.

    Raises:
        InputError: for another reduction.
    """

    recordable: ClassVar[bool | None] = None
    """Whether training may record its operations once and repeat them, see `Layer.recordable`."""

    def __init_subclass__(cls, *, known_as: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        enter(LOSSES, known_as, cls)

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = one_of("reduction", reduction, ("mean", "sum"))

    @abstractmethod
    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """ℓ."""

    @abstractmethod
    def gradient(self, y: Tensor, target: Tensor) -> Tensor:
        """∂ℓ/∂Y_nk, the cotangent with which the chain rule begins."""

    @abstractmethod
    def check(self, y: Tensor, target: Tensor) -> None:
        """Raise InputError unless this loss can compare an output such as `y` with `target`."""

    def counted(self, target: Tensor) -> int:
        """C, the number of samples that count: a micro-batch has the weight of its share of them."""
        return len(target)


class MeanSquaredError(Loss, known_as="mean_squared_error"):
    """ℓ = 1/(N K) Σ_nk (Y_nk − T_nk)²; as a sum, 1/K Σ_nk (Y_nk − T_nk)².

    Shapes: Y and T (N, K), or (N, *S) with K numbers in S.
    """

    def forward(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
        """ℓ = 1/(N K) Σ_nk (Y_nk − T_nk)²."""
        mean = ((y - target) ** 2).mean()
        return mean if self.reduction == "mean" else mean * len(y)

    def gradient(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """∂ℓ/∂Y_nk = 2 (Y_nk − T_nk) / (N K)."""
        return (y - target) * (2 / (y.numel() if self.reduction == "mean" else y.numel() // len(y)))

    def check(self, y: Tensor, target: Tensor) -> None:
        if target.shape != y.shape or not target.is_floating_point():
            raise InputError(
                f"the targets of mean squared error have the shape {tuple(target.shape)} and the type {target.dtype}, "
                "and the "
                f"outputs the shape {tuple(y.shape)}; expected one number for each output: set the last of the "
                "network's "
                "sizes to the width of the targets, or use cross_entropy for classes."
            )
        if target.dtype != y.dtype:
            raise InputError(
                f"the targets of mean squared error have the type {target.dtype} and the outputs {y.dtype}; expected "
                "one "
                "precision: call targets.to(…), or network.double()."
            )


class CrossEntropy(Loss, known_as="cross_entropy"):
    """ℓ = −1/N Σ_n log P_n,T(n), with P_nk = e^Y_nk / Σ_m e^Y_nm. Shapes: Y (N, K), the logits; T (N,), the classes."""

    def forward(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """ℓ = −1/N Σ_n log P_n,T(n)."""
        logs = torch.log_softmax(y, 1).gather(1, target[:, None])
        return -(logs.mean() if self.reduction == "mean" else logs.sum())

    def gradient(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
        """∂ℓ/∂Y_nk = (P_nk − δ_k,T(n)) / N."""
        minus_one = torch.full_like(y[:, :1], -1)
        return torch.softmax(y, 1).scatter_add(1, target[:, None], minus_one) / (
            len(y) if self.reduction == "mean" else 1
        )

    def check(self, y: Tensor, target: Tensor) -> None:
        if target.dtype != torch.int64 or target.shape != y.shape[:1] or y.ndim != 2:
            raise InputError(
                f"the targets of cross entropy have the shape {tuple(target.shape)} and the type {target.dtype}, and "
                "the "
                f"outputs the shape {tuple(y.shape)}; expected outputs (N, K) and the class of each sample as an "
                "integer: set "
                "data.targets=classes, or use mean_squared_error."
            )
        if len(target) and not 0 <= int(target.min()) <= int(target.max()) < y.shape[1]:
            raise InputError(
                f"the targets of cross entropy are the classes {int(target.min())} to {int(target.max())}, and there "
                "are "
                f"{y.shape[1]} outputs; expected an output for each class: set the last of the network's sizes to the "
                "number of classes."
            )


class MaskedCrossEntropy(CrossEntropy, known_as="masked_cross_entropy"):
    """ℓ = −1/C Σ_n [T(n) ≥ 0] log P_n,T(n), with C = Σ_n [T(n) ≥ 0]: samples, or tokens, of a class below 0 do not
    count.

    PyTorch marks what it ignores with the class −100. Where nothing counts, ℓ and its gradient are 0.
    Shapes: Y (N, K), the logits; T (N,), the classes.
    """

    def forward(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """ℓ = −1/C Σ_n [T(n) ≥ 0] log P_n,T(n)."""
        logs = torch.log_softmax(y, 1).gather(1, target.clamp(min=0)[:, None])[:, 0]
        counts = target >= 0
        total = -(logs * counts).sum()
        return total / self._divisor(counts) if self.reduction == "mean" else total

    def gradient(self, y: Float[Tensor, "n k"], target: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
        """∂ℓ/∂Y_nk = [T(n) ≥ 0] (P_nk − δ_k,T(n)) / C."""
        minus_one = torch.full_like(y[:, :1], -1)
        counts = target >= 0
        every = torch.softmax(y, 1).scatter_add(1, target.clamp(min=0)[:, None], minus_one) * counts[:, None]
        return every / self._divisor(counts) if self.reduction == "mean" else every

    def check(self, y: Tensor, target: Tensor) -> None:
        super().check(y, target.clamp(min=0) if target.dtype == torch.int64 else target)

    def counted(self, target: Tensor) -> int:
        return int((target >= 0).sum())

    @staticmethod
    def _divisor(counts: Tensor) -> Tensor:
        return counts.sum().clamp(min=1)
