"""What a loss is: ℓ(Y, T), one number for a batch, and ∂ℓ/∂Y."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from nets.settings import enter
from nets.validation import one_of

LOSSES: dict[str, type["Loss"]] = {}
"""Each loss under its name, as the setting `loss` of a run takes it."""


class Letter(NamedTuple):
    """What a letter in the symbol of a loss stands for.

    Attributes:
        written: 'P'.
        meaning: 'e^Y_nk / Σ_m e^Y_nm'; one letter n stands for the sample and for the place in it.
        numbers: with the first axes of Y; none for one number.
    """

    written: str
    meaning: str
    numbers: Tensor


class Loss(nn.Module, ABC):
    """ℓ(Y, T), one number for a batch, and ∂ℓ/∂Y_nk.

    A subclass enters itself in LOSSES with `class Hinge(nets.Loss, known_as="hinge")`.

    Args:
        reduction: 'mean' for 1/C Σ_n ℓ_n, with C the number of samples that count; 'sum' for Σ_n ℓ_n.

    Raises:
        InputError: for another reduction.
    """

    recordable: ClassVar[bool | None] = None
    """Whether training may record its operations once and repeat them, see `Layer.recordable`."""

    symbol: ClassVar[str | None] = None
    """How ∂ℓ/∂Y_nk is written, with each of `letters` in braces: '({p} − {q}) / {c}'; None where it is not known.

    The notation is that of `nets.calculus.notation.symbols`."""

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

    def letters(self, y: Tensor, target: Tensor) -> dict[str, Letter]:
        """What the letters of the symbol stand for."""
        return {}

    def _mean_over(self, count: int, meaning: str, y: Tensor) -> Letter:
        """C: by what a mean is divided, and 1 for a sum."""
        mean = self.reduction == "mean"
        return Letter("C", meaning if mean else "1, since ℓ is a sum", y.new_tensor(count if mean else 1))

    def counted(self, target: Tensor) -> int:
        """C, the number of samples (or tokens) that count: a micro-batch has the weight of its share of them."""
        return target.shape[0]

    def counts(self, target: Tensor) -> Tensor | None:
        """C_n, how often sample n counts, where it has many tokens; shape (N,). As a mean, ℓ is then 1/C Σ_n C_n ℓ_n
        with ℓ_n the loss of sample n alone. None where each sample counts once or not at all."""
        return None
