"""∂ℓ/∂Y_nk of a loss as it is written: in letters, with the index of one output, and with its numbers."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nets.calculus.formulas import AXES
from nets.calculus.losses import Letter, Loss
from nets.calculus.notation.factors import subscript
from nets.calculus.notation.symbols import written_function
from nets.explanation.explain.numbers import factor_text, with_values


@dataclass(frozen=True)
class LossSymbol:
    """∂ℓ/∂Y_nk at a batch. A loss without a symbol has a named factor.

    Attributes:
        loss: ℓ.
        y: Y.
        targets: T.
    """

    loss: Loss
    y: Tensor
    targets: Tensor

    @cached_property
    def letters(self) -> dict[str, Letter]:
        """Those of the symbol."""
        return self.loss.letters(self.y, self.targets) if self.loss.symbol is not None else {}

    @cached_property
    def indices(self) -> tuple[str, ...]:
        """A letter for each axis of Y: n, k, or n, t, k."""
        between = self.y.ndim - 2
        return ("n", *AXES[len(AXES) - between :], "k") if between else ("n", "k")

    @property
    def text(self) -> str:
        """'(P_nk − Q_nk) / C'."""
        return self._written(self.indices)

    def _written(self, indices: tuple[str, ...]) -> str:
        if self.loss.symbol is None:
            return f"∂ℓ/∂Y_{subscript(*indices)}"
        named = {key: _indexed(letter, indices) for key, letter in self.letters.items()}
        return self.loss.symbol.format(**named)

    @property
    def meanings(self) -> list[str]:
        """'P_nk = e^Y_nk / Σ_m e^Y_nm', for each letter; a count with its number."""
        between = "".join(self.indices[1:-1])
        found = []
        for letter in self.letters.values():
            meaning = letter.meaning.replace("_n", f"_n{between}")
            number = "" if letter.numbers.ndim else f" = {factor_text(float(letter.numbers))}"
            joint = ", " if number else " = " if "_" in meaning else ": "
            found.append(f"{_indexed(letter, self.indices)}{number}{joint}{meaning}")
        return found

    def in_numbers(self, index: tuple[int, ...]) -> str:
        """'(0.2 − 1) / 6' at one output."""
        if self.loss.symbol is None:
            return factor_text(float(self.loss.gradient(self.y, self.targets)[index]))
        values = {key: float(letter.numbers[index[: letter.numbers.ndim]]) for key, letter in self.letters.items()}
        return with_values(self.loss.symbol, **values)

    @cached_property
    def fault(self) -> str:
        """An output at which the symbol does not give the loss's own gradient, in words; '' where there is none."""
        if self.loss.symbol is None:
            return ""
        found = self.values()
        expected = self.loss.gradient(self.y, self.targets)
        wrong = ~torch.isclose(found, expected, rtol=1e-9, atol=1e-12)
        if not wrong.any():
            return ""
        index = tuple(map(int, wrong.nonzero()[0]))
        place = ",".join(map(str, index))
        return (
            f"The symbol of {type(self.loss).__name__} gives {float(found[index]):.6g} at Y[{place}], "
            f"and its gradient gives {float(expected[index]):.6g}: one of the two is wrong."
        )

    def values(self) -> Tensor:
        """The symbol evaluated at every output."""
        owner, letters = type(self.loss).__name__, self.letters
        compute = written_function(
            self.loss.symbol or "", tuple((key, one.written) for key, one in letters.items()), owner
        )
        numbers = {key: _spread(one.numbers, self.y) for key, one in letters.items()}
        return compute(**numbers).to(self.y).expand_as(self.y)


def _indexed(letter: Letter, indices: tuple[str, ...]) -> str:
    own = indices[: letter.numbers.ndim]
    return f"{letter.written}_{subscript(*own)}" if own else letter.written


def _spread(numbers: Tensor, y: Tensor) -> Tensor:
    """The numbers with as many axes as Y."""
    return numbers.reshape(*numbers.shape, *(1 for _ in range(y.ndim - numbers.ndim)))
