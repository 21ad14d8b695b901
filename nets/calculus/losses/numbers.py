"""Losses of one number for each output: ℓ = 1/(N K) Σ_nk f(Y_nk − T_nk); as a sum, 1/K Σ_nk f(Y_nk − T_nk).

Shapes: Y and T (N, K), or (N, *S) with K numbers in S.
Sources: Bishop, "Pattern Recognition and Machine Learning" (2006), section 3.1.1; Huber, "Robust estimation of a
location parameter", Annals of Mathematical Statistics 35 (1964), for `Huber`.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from nets.calculus.losses.loss import Letter, Loss
from nets.errors import InputError
from nets.validation import number


class NumberLoss(Loss):
    """A loss whose targets are numbers in the shape of the outputs.

    Attributes:
        written: how a sentence names the loss.
    """

    written: ClassVar[str]

    def check(self, y: Tensor, target: Tensor) -> None:
        if target.shape != y.shape or not target.is_floating_point():
            raise InputError(
                f"the targets of {self.written} have the shape {tuple(target.shape)} and the type {target.dtype}, "
                f"and the outputs the shape {tuple(y.shape)}; expected one number for each output: set the last of the "
                "network's sizes to the width of the targets, or use cross_entropy for classes."
            )
        if target.dtype != y.dtype:
            raise InputError(
                f"the targets of {self.written} have the type {target.dtype} and the outputs {y.dtype}; expected one "
                "precision: call targets.to(…), or network.double()."
            )

    def letters(self, y: Tensor, target: Tensor) -> dict[str, Letter]:
        meaning = "N K, the number of outputs" if self.reduction == "mean" else "K, the outputs of one sample"
        count = Letter("C", meaning, y.new_tensor(self._divisor(y)))
        return {"y": Letter("Y", "the output", y), "t": Letter("T", "the target", target), "c": count}

    def _reduced(self, terms: Tensor) -> Tensor:
        """1/(N K) Σ_nk of f(Y_nk − T_nk), or as a sum 1/K Σ_nk."""
        mean = terms.mean()
        return mean if self.reduction == "mean" else mean * len(terms)

    def _divisor(self, y: Tensor) -> int:
        """N K, or as a sum K."""
        return y.numel() if self.reduction == "mean" else y.numel() // len(y)


class MeanSquaredError(NumberLoss, known_as="mean_squared_error"):
    """ℓ = 1/(N K) Σ_nk (Y_nk − T_nk)²; as a sum, 1/K Σ_nk (Y_nk − T_nk)². It equals `torch.nn.MSELoss`."""

    written = "mean squared error"
    symbol = "2 ({y} − {t}) / {c}"

    def forward(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
        """ℓ = 1/(N K) Σ_nk (Y_nk − T_nk)²."""
        return self._reduced((y - target) ** 2)

    def gradient(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """∂ℓ/∂Y_nk = 2 (Y_nk − T_nk) / (N K)."""
        return (y - target) * (2 / self._divisor(y))


class L1(NumberLoss, known_as="l1"):
    """ℓ = 1/(N K) Σ_nk |Y_nk − T_nk|; as a sum, 1/K Σ_nk |Y_nk − T_nk|. It equals `torch.nn.L1Loss`."""

    written = "the L1 loss"
    symbol = "sign({y} − {t}) / {c}"

    def forward(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
        """ℓ = 1/(N K) Σ_nk |Y_nk − T_nk|."""
        return self._reduced((y - target).abs())

    def gradient(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """∂ℓ/∂Y_nk = sgn(Y_nk − T_nk) / (N K), with sgn(0) = 0 as in PyTorch."""
        return (y - target).sign() / self._divisor(y)


class Huber(NumberLoss, known_as="huber"):
    """ℓ = 1/(N K) Σ_nk h(Y_nk − T_nk) with h(d) = d²/2 for |d| ≤ δ and δ (|d| − δ/2) beyond; as a sum, 1/K Σ_nk.

    It equals `torch.nn.HuberLoss`.

    Args:
        reduction: see `Loss`.
        delta: δ, above 0: where the square ends and the line begins.

    Raises:
        InputError: for an argument out of range.
    """

    written = "the Huber loss"
    symbol = "([abs({d}) ≤ {b}] {d} + [abs({d}) > {b}] {b} sign({d})) / {c}"

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = number("delta", delta, above=0)

    def forward(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
        """ℓ = 1/(N K) Σ_nk c (|Y_nk − T_nk| − c/2), with c = min(|Y_nk − T_nk|, δ)."""
        distance = (y - target).abs()
        squared = distance.clamp(max=self.delta)
        return self._reduced(squared * (distance - squared / 2))

    def gradient(self, y: Float[Tensor, "n ..."], target: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """∂ℓ/∂Y_nk = max(−δ, min(Y_nk − T_nk, δ)) / (N K)."""
        return (y - target).clamp(-self.delta, self.delta) / self._divisor(y)

    def letters(self, y: Tensor, target: Tensor) -> dict[str, Letter]:
        d = Letter("D", "Y_nk − T_nk", y - target)
        return {
            "d": d,
            "b": Letter("δ", "where the square ends", y.new_tensor(self.delta)),
            **super().letters(y, target),
        }
