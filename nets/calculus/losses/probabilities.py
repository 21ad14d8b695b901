"""Losses whose targets are probabilities and whose outputs are logits.

Sources: Bishop, "Pattern Recognition and Machine Learning" (2006), sections 4.3.2 and 1.6.1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from nets.calculus.losses.loss import Letter, Loss
from nets.calculus.losses.numbers import NumberLoss
from nets.errors import InputError


class BinaryCrossEntropy(NumberLoss, known_as="binary_cross_entropy"):
    """ℓ = −1/(N K) Σ_nk (T_nk log σ(Y_nk) + (1 − T_nk) log σ(−Y_nk)) with σ(y) = 1/(1 + e^−y); as a sum, −1/K Σ_nk.

    It equals `torch.nn.BCEWithLogitsLoss`. Shapes: Y (N, *S), the logits; T the same, probabilities from 0 to 1.
    """

    written = "binary cross entropy"
    symbol = "(σ({y}) − {t}) / {c}"

    def forward(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
        """ℓ = 1/(N K) Σ_nk (T_nk log(1 + e^−Y_nk) + (1 − T_nk) log(1 + e^Y_nk)); no difference of large numbers."""
        zero = torch.zeros_like(y)
        return self._reduced(target * torch.logaddexp(-y, zero) + (1 - target) * torch.logaddexp(y, zero))

    def gradient(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """∂ℓ/∂Y_nk = (σ(Y_nk) − T_nk) / (N K)."""
        return (torch.sigmoid(y) - target) / self._divisor(y)

    def check(self, y: Tensor, target: Tensor) -> None:
        super().check(y, target)
        if target.numel() and not (float(target.min()) >= 0 and float(target.max()) <= 1):
            raise InputError(
                f"the targets of binary cross entropy are numbers from {float(target.min()):.3g} to "
                f"{float(target.max()):.3g}; expected probabilities from 0 to 1: use mean_squared_error for other "
                "numbers."
            )


class KLDivergence(Loss, known_as="kl_divergence"):
    """ℓ = 1/N Σ_n Σ_k T_nk (log T_nk − log P_nk), with P_nk = e^Y_nk / Σ_m e^Y_nm and 0 log 0 = 0; as a sum, Σ_n Σ_k.

    It equals `torch.nn.KLDivLoss(reduction="batchmean")`, which is given log P instead of the logits.
    Shapes: Y (N, K), the logits; T (N, K), probabilities that add up to 1 over k.
    """

    symbol = "({p} {s} − {t}) / {c}"

    def forward(self, y: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """ℓ = 1/N Σ_n Σ_k T_nk (log T_nk − log P_nk)."""
        total = (torch.xlogy(target, target) - target * torch.log_softmax(y, 1)).sum()
        return total / len(y) if self.reduction == "mean" else total

    def gradient(self, y: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """∂ℓ/∂Y_nk = (P_nk Σ_m T_nm − T_nk) / N. Σ_m T_nm is 1 up to rounding."""
        found = torch.softmax(y, 1) * target.sum(1, keepdim=True) - target
        return found / (len(y) if self.reduction == "mean" else 1)

    def check(self, y: Tensor, target: Tensor) -> None:
        if target.shape != y.shape or target.dtype != y.dtype or y.ndim != 2:
            raise InputError(
                f"the targets of the KL divergence have the shape {tuple(target.shape)} and the type {target.dtype}, "
                f"and the outputs the shape {tuple(y.shape)} and the type {y.dtype}; expected both as (N, K) in one "
                "precision: set the last of the network's sizes to the width of the targets."
            )
        off = float((target.sum(1) - 1).abs().max()) if target.numel() else 0.0
        if not (off <= torch.finfo(target.dtype).eps ** 0.5) or (target.numel() and float(target.min()) < 0):
            raise InputError(
                f"the targets of the KL divergence begin at {float(target.min()):.3g} and add up to 1 with an error of "
                f"up to {off:.3g}; expected the probabilities of the outputs of each sample: divide the targets by "
                "their sum."
            )

    def letters(self, y: Tensor, target: Tensor) -> dict[str, Letter]:
        return {
            "p": Letter("P", "e^Y_nk / Σ_m e^Y_nm", torch.softmax(y, 1)),
            "s": Letter("S", "Σ_m T_nm, 1 up to rounding", target.sum(1)),
            "t": Letter("T", "the target", target),
            "c": self._mean_over(len(y), "the number of samples", y),
        }
