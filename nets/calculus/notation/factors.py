"""A formula as an object: it prints itself, and it computes its entry from the values of the network.

Index letters: n sample, k output of the network, i and j index of a parameter, l, m, o … units that are summed over. A
letter is one unit of a layer; if a sample has several axes, units are counted in the order of `flatten`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.errors import InputError

LETTER_OF_FORMULAS = re.compile(r"[ABHWXYZ]\d*|[δΣσφΦ]")
"""What stands for something else in a formula: values, weights, biases, derivatives and functions."""

DELTA = "δ_ki is 1 where k = i, and 0 elsewhere"


@dataclass(frozen=True)
class Place:
    """The place of a layer in a network.

    Attributes:
        number: of the layer, from 0; None where a formula names one layer only, so that its weight is W.
        x_name, y_name: what its input and output are called: X, H1, H2, …, Y.
        x, y: its input and output for a batch, of shape (N, *S); None where only the text is asked for, and samples are
            vectors.
        path: the name of the layer in the network, such as 'blocks'; '' where it is not known.
        symbol_fault: an input at which the symbol of the layer is not its slope, in words; '' if there is none. Then a
            formula names the derivative instead, see `Layer.symbol_fault`.
    """

    number: int | None
    x_name: str
    y_name: str
    x: Tensor | None = None
    y: Tensor | None = None
    path: str = ""
    symbol_fault: str = ""

    @property
    def of_vectors(self) -> bool:
        """Whether a sample is a vector, on both sides of the layer."""
        return (self.x is None or self.x.ndim == 2) and (self.y is None or self.y.ndim == 2)

    def parameter(self, name: str) -> str:
        """How a parameter of the layer is written: with the path of the layer in front where it is one of a layer
        within, or has the name of a letter of formulas, as in '1.A'."""
        alone = "." not in name and not LETTER_OF_FORMULAS.fullmatch(name)
        return name if alone or not self.path else f"{self.path}.{name}"

    def values(self) -> tuple[Tensor, Tensor]:
        """X and Y.

        Raises:
            InputError: where only the text is there.
        """
        if self.x is None or self.y is None:
            raise _without_numbers()
        return self.x, self.y


@dataclass(frozen=True)
class Factor:
    """One factor of a product.

    Attributes:
        text: how it is written, such as 'W2_kl'.
        letters: its indices, such as ('k', 'l').
        numbers: n → its numbers at sample n, with an axis for each letter.
        meanings: definitions of its letters, such as DELTA, unless they are the weight, bias, input or output of a
            layer.
    """

    text: str
    letters: tuple[str, ...]
    numbers: Callable[[int], Tensor]
    meanings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Product:
    """Σ over some letters of a product of factors.

    Attributes:
        text: how it is written; '' for a product without factors.
        factors: from the left to the right.
        letters: the indices of the result; a letter that is not among them is summed over.
    """

    text: str
    factors: tuple[Factor, ...]
    letters: tuple[str, ...]

    def numbers(self, n: int) -> Tensor:
        """The product at sample n, with an axis for each letter of the result; multiplied from the left to the
        right."""
        found, letters = torch.ones((), dtype=torch.float64), tuple[str, ...]()
        for index, factor in enumerate(self.factors):
            later = {letter for other in self.factors[index + 1 :] for letter in other.letters} | set(self.letters)
            kept = tuple(letter for letter in dict.fromkeys((*letters, *factor.letters)) if letter in later)
            code = {letter: number for number, letter in enumerate(dict.fromkeys((*letters, *factor.letters)))}
            axes = [[code[letter] for letter in group] for group in (letters, factor.letters, kept)]
            found = torch.einsum(found, axes[0], factor.numbers(n).detach().to(found), axes[1], axes[2])
            letters = kept
        return found.permute([letters.index(letter) for letter in self.letters])


@dataclass(frozen=True)
class Formula:
    """∂Y_k/∂θ as it is written, such as '∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j', and as it is computed.

    Attributes:
        head: the left side.
        product: the right side; its letters are k and those of the index of θ.
        outputs: shape of Y for one sample; None without a batch.
        index: shape of θ for one sample; None without a batch.
    """

    head: str
    product: Product
    outputs: tuple[int, ...] | None = None
    index: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"{self.head} = {self.product.text}"

    def numbers(self, n: int) -> Tensor:
        """Every entry for sample n, of shape (*k, *θ.shape).

        Raises:
            InputError: for a formula that was made without a batch.
        """
        found = self.product.numbers(n)
        return found.reshape(*(self.outputs or ()), *(self.index or ()))

    def entry(self, n: int, *index: int) -> float:
        """One entry, at the index (n, *k, *index of θ), as `Jacobian.entry` counts."""
        return float(self.numbers(n)[index])


def subscript(*letters: str) -> str:
    """'ki' of k and i, '2,13' of 2 and 13."""
    return ("" if all(letter.isalpha() for letter in letters) else ",").join(letters)


def delta(one: str, other: str, y: Tensor | None) -> Factor:
    """Kronecker's δ of two units of Y: 1 where both are the same, else 0."""

    def numbers(n: int) -> Tensor:
        if y is None:
            raise _without_numbers()
        return torch.eye(y[n].numel(), dtype=torch.float64)

    return Factor(f"δ_{subscript(one, other)}", (one, other), numbers, (DELTA,))


def _without_numbers() -> InputError:
    return InputError(
        "a formula has no numbers without a batch; expected formulas(network, x) instead of formulas(network)."
    )
