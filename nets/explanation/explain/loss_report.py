"""LossExplanation: the result of nets.explain_loss as a record and as a document."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nets.explanation.document import Block, Document, Lines, Note, Table, Title
from nets.explanation.explain.loss_symbol import LossSymbol
from nets.explanation.explain.notations import Notation
from nets.explanation.explain.numbers import factor_text
from nets.text import six_digits, sixteen_digits

MOST_TERMS = 5
"""Terms that are shown one by one, the largest first."""

MOST_SHARES = 3
"""Samples, positions and outputs whose share is shown, the largest first."""

AXES = {"n": "sample n", "k": "output k"}
"""What the axes of Y are; the others are positions."""


@dataclass(frozen=True, repr=False)
class LossExplanation(Document):
    """∂ℓ/∂θ = Σ_n Σ_k ∂ℓ/∂Y_nk ∂Y_nk/∂θ for one number θ.

    Attributes:
        where: θ, such as '0.weight[2,3]'.
        loss: ℓ.
        lines: (label, formula): in letters, what they stand for, with indices.
        by_output: ∂ℓ/∂Y_nk by the loss's own gradient, in the shape of Y.
        by_point: ∂Y_nk/∂θ by the layers, in the shape of Y.
        symbol: how ∂ℓ/∂Y_nk is written.
        derivations: name → value: closed form, the sum of the terms, reverse mode, central difference.
        notations: the closed form as `descend` computes it, and PyTorch; each executed.
    """

    file = "loss_explanation"

    where: str
    loss: float
    lines: tuple[tuple[str, str], ...]
    by_output: Tensor
    by_point: Tensor
    symbol: LossSymbol
    derivations: dict[str, float]
    notations: tuple[Notation, ...]

    @property
    def value(self) -> float:
        """∂ℓ/∂θ in closed form."""
        return self.derivations["closed form"]

    @cached_property
    def products(self) -> Tensor:
        """∂ℓ/∂Y_nk ∂Y_nk/∂θ, in the shape of Y."""
        return self.by_output * self.by_point

    def blocks(self) -> list[Block]:
        """The document, in order."""
        title = f"∂ℓ/∂{self.where} = {six_digits(self.value)}, where ℓ = {six_digits(self.loss)}"
        count = self.products.numel()
        numbers = (("in numbers", f"{self._largest()} = {six_digits(self.value)}"),)
        parts: list[Block] = [Title(title), Lines((*self.lines, *numbers))]
        parts += [Title(f"The sum over {count:,} outputs, the largest terms first", 2), self._terms()]
        for axis, letter in enumerate(self.symbol.indices):
            if self.products.shape[axis] > 1:
                name = AXES.get(letter, f"position {letter}")
                parts += [Title(f"The share of each {name}", 2), self._shares(axis, name)]
        rows = tuple((name, sixteen_digits(value)) for name, value in self.derivations.items())
        parts += [Title("Four derivations", 2), Table(("", "value"), rows, numbers=1), Note(self.agreement)]
        codes = tuple((each.name, each.statement, sixteen_digits(each.value), each.code) for each in self.notations)
        parts += [Title("Two notations, each executed", 2)]
        parts += [Table(("notation", "statement", "value", "code"), codes, numbers=2, code=3)]
        return [*parts, Note("network, x and targets are in float64; tokens and classes stay whole numbers.")]

    @property
    def agreement(self) -> str:
        """How far the derivations differ from each other, and what contradicts them."""
        exact = list(self.derivations.values())[:-1]
        spread = max(exact) - min(exact)
        error = abs(self.derivations["central difference"] - self.value)
        found = f"The first three are within {spread:.1e} of each other, the difference within {error:.1e}."
        if spread > 1e-9 * float(self.products.abs().sum()) + 1e-12 or error > 1e-6 * max(1.0, abs(self.value)):
            found += " They do not agree: look for a kink, or a wrong derivative; see nets.verify."
        return f"{found} {self.symbol.fault}".rstrip()

    def _first(self, count: int) -> list[tuple[int, ...]]:
        """The indices of the largest terms."""
        flat = self.products.flatten()
        found = flat.abs().topk(min(count, len(flat))).indices.tolist()
        return [tuple(map(int, np.unravel_index(term, self.products.shape))) for term in found]

    def _largest(self) -> str:
        """The two largest terms with their numbers: '(0.2 − 1) / 6 · 0.43 + …'."""
        shown = [f"{self.symbol.in_numbers(at)} · {factor_text(float(self.by_point[at]))}" for at in self._first(2)]
        return " + ".join(shown) + " + …" * (self.products.numel() > len(shown))

    def _terms(self) -> Table:
        flat = self.products.flatten()
        rows = []
        for index in self._first(MOST_TERMS):
            numbers = (self.by_output[index], self.by_point[index], self.products[index])
            texts = (six_digits(float(number)) for number in numbers)
            rows.append((f"Y[{','.join(map(str, index))}]", self.symbol.in_numbers(index), *texts))
        if len(flat) > len(rows):
            others = f"the other {len(flat) - len(rows):,}"
            rows.append((others, "", "", "together", six_digits(_rest(flat, len(rows)))))
        rows.append(("sum", "", "", "", sixteen_digits(self.derivations["sum of the terms"])))
        head = ("output", "∂ℓ/∂Y in numbers", "∂ℓ/∂Y", "∂Y/∂θ", "product")
        return Table(head, tuple(rows), numbers=4, total=True)

    def _shares(self, axis: int, name: str) -> Table:
        own = self.products.movedim(axis, 0).flatten(1).sum(1)
        rows = list(self._largest_shares(own))
        return Table((name, "its part of the sum"), tuple(rows), numbers=1)

    def _largest_shares(self, own: Tensor) -> Iterator[tuple[str, str]]:
        shown = own.abs().topk(min(MOST_SHARES, len(own))).indices.tolist()
        for place in shown:
            yield str(place), six_digits(float(own[place]))
        if len(own) > len(shown):
            yield f"the other {len(own) - len(shown):,} together", six_digits(_rest(own, len(shown)))


def _rest(values: Tensor, shown: int) -> float:
    """The sum of all but so many of the largest."""
    left = torch.ones_like(values, dtype=torch.bool)
    left[values.abs().topk(shown).indices] = False
    return float(values[left].sum())
