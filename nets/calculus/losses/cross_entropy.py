"""Cross entropy: one class for each sample, or for each token of a sample.

Index letters: c class, s the smoothing. One letter n means the sample and the position of a token in it: targets have
the shape (N,) or (N, T), outputs one axis more, whose length is K, the number of classes. Sources: Bishop, "Pattern
Recognition and Machine Learning" (2006), section 4.3.4; Szegedy et al., "Rethinking the Inception architecture",
arXiv:1512.00567, section 7, for label smoothing.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nets.calculus.losses.loss import Letter, Loss
from nets.errors import InputError
from nets.validation import number


class CrossEntropy(Loss, known_as="cross_entropy"):
    """ℓ = −1/C Σ_n Σ_k Q_nk log P_nk, with P_nk = e^Y_nk / Σ_m e^Y_nm and Q_nk = (1 − s) δ_k,T(n) + s/K.

    C is the number of classes given: N samples, or N T tokens. It equals `torch.nn.CrossEntropyLoss`, which wants the
    classes on axis 1 of the outputs; here they are on the last one.

    Shapes: Y (N, K) or (N, T, K), the logits; targets (N,) or (N, T), the classes.

    Args:
        reduction: see `Loss`.
        label_smoothing: s, from 0 up and below 1: the share of the probability that is spread over all classes.

    Raises:
        InputError: for an argument out of range.
    """

    symbol = "({p} − {q}) / {c}"

    def __init__(self, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        self.label_smoothing = number("label_smoothing", label_smoothing, least=0, below=1)

    def forward(self, y: Float[Tensor, "n ... k"], target: Int64[Tensor, "n ..."]) -> Float[Tensor, ""]:
        """ℓ = −1/C Σ_n Σ_k Q_nk log P_nk."""
        terms = self._terms(y, target)
        return -(terms.mean() if self.reduction == "mean" else terms.sum())

    def gradient(self, y: Float[Tensor, "n ... k"], target: Int64[Tensor, "n ..."]) -> Float[Tensor, "n ... k"]:
        """∂ℓ/∂Y_nk = (P_nk − Q_nk) / C."""
        return self._differences(y, target) / (target.numel() if self.reduction == "mean" else 1)

    def check(self, y: Tensor, target: Tensor) -> None:
        if target.dtype != torch.int64 or y.ndim < 2 or target.shape != y.shape[:-1]:
            raise InputError(
                f"the targets of cross entropy have the shape {tuple(target.shape)} and the type {target.dtype}, and "
                f"the outputs the shape {tuple(y.shape)}; expected outputs (N, K) and the class of each sample as an "
                "integer, or outputs (N, T, K) and the class of each token: set data.targets=classes, or use "
                "mean_squared_error."
            )
        if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < y.shape[-1]:
            raise InputError(
                f"the targets of cross entropy are the classes {int(target.min())} to {int(target.max())}, and there "
                f"are {y.shape[-1]} outputs; expected an output for each class: set the last of the network's sizes to "
                "the number of classes, or use masked_cross_entropy if a class below 0 does not count."
            )

    def letters(self, y: Tensor, target: Tensor) -> dict[str, Letter]:
        s, classes = self.label_smoothing, y.shape[-1]
        given = torch.nn.functional.one_hot(target, classes).to(y)
        smoothed = f"{1 - s:g} [k = T_n] + {s:g} / {classes}" if s else "[k = T_n]: 1 for the class given, else 0"
        return {
            "p": Letter("P", "e^Y_nk / Σ_m e^Y_nm", torch.softmax(y, -1)),
            "q": Letter("Q", smoothed, (1 - s) * given + s / classes),
            "c": self._mean_over(target.numel(), "the number of classes given", y),
        }

    def _terms(self, y: Tensor, target: Tensor) -> Tensor:
        """Σ_k Q_nk log P_nk."""
        logs = torch.log_softmax(y, -1)
        own = logs.gather(-1, target[..., None])[..., 0]
        if self.label_smoothing == 0:
            return own
        return (1 - self.label_smoothing) * own + self.label_smoothing * logs.mean(-1)

    def _differences(self, y: Tensor, target: Tensor) -> Tensor:
        """P_nk − Q_nk."""
        own = torch.full_like(y[..., :1], self.label_smoothing - 1)
        # The logarithms are those of the loss, so that a recording computes them once.
        found = torch.log_softmax(y, -1).exp().scatter_add(-1, target[..., None], own)
        return found if self.label_smoothing == 0 else found - self.label_smoothing / y.shape[-1]


class MaskedCrossEntropy(CrossEntropy, known_as="masked_cross_entropy"):
    """ℓ = −1/C Σ_n [T(n) ≥ 0] Σ_k Q_nk log P_nk, with C = Σ_n [T(n) ≥ 0]: samples, or tokens, of a class below 0 do
    not count.

    PyTorch marks what it ignores with the class −100. Where nothing counts, ℓ and its gradient are 0. Sequences of
    different lengths (ragged) are filled up with −100.
    Shapes: Y (N, K) or (N, T, K), the logits; targets (N,) or (N, T), the classes.
    """

    symbol = "{m} ({p} − {q}) / {c}"

    def forward(self, y: Float[Tensor, "n ... k"], target: Int64[Tensor, "n ..."]) -> Float[Tensor, ""]:
        """ℓ = −1/C Σ_n [T(n) ≥ 0] Σ_k Q_nk log P_nk."""
        return -(self._terms(y, target.clamp(min=0)) * self._weights(y, target)).sum()

    def gradient(self, y: Float[Tensor, "n ... k"], target: Int64[Tensor, "n ..."]) -> Float[Tensor, "n ... k"]:
        """∂ℓ/∂Y_nk = [T(n) ≥ 0] (P_nk − Q_nk) / C."""
        return self._differences(y, target.clamp(min=0)) * self._weights(y, target)[..., None]

    def check(self, y: Tensor, target: Tensor) -> None:
        super().check(y, target.clamp(min=0) if target.dtype == torch.int64 else target)

    def letters(self, y: Tensor, target: Tensor) -> dict[str, Letter]:
        counts = (target >= 0).to(y)
        return {
            "m": Letter("M", "[T_n ≥ 0]: 1 where T_n counts, else 0", counts),
            **super().letters(y, target.clamp(min=0)),
            "c": self._mean_over(max(1, self.counted(target)), "the number of classes that count", y),
        }

    def counted(self, target: Tensor) -> int:
        return int((target >= 0).sum())

    def counts(self, target: Tensor) -> Tensor | None:
        return None if target.ndim == 1 else (target >= 0).reshape(len(target), -1).sum(1)

    def _weights(self, y: Tensor, target: Tensor) -> Tensor:
        """[T(n) ≥ 0] / C, in the precision of Y."""
        counts = target >= 0
        return counts / (counts.sum(dtype=y.dtype).clamp(min=1) if self.reduction == "mean" else y.new_ones(()))
