"""Explanation: the result of nets.explain as a record, as a document for a terminal and a page, and as files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nets.explanation.document import Block, Document, Lines, Note, Table, Title, as_html
from nets.explanation.explain.chain import ChainFactor
from nets.explanation.explain.notations import Notation
from nets.explanation.paths import Paths
from nets.explanation.picture.picture import BackwardPicture
from nets.explanation.selection import entry_name
from nets.text import listed, six_digits, sixteen_digits

_COUNT = {2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True, repr=False)  # beside its HTML a notebook keeps the repr
class Explanation(Document):
    """∂Y_nk/∂θ for one number θ.

    Attributes:
        name, index: which number θ is.
        output, sample: k and n.
        formula: the Jacobian in index form; '' if it would only repeat its left side.
        lines: (label, formula): in letters, with the chain rule written out, with indices, with numbers.
        factors: along the largest path, from Y_k back to θ.
        paths: from Y_k to the units that θ feeds; their products add up to ∂Y_nk/∂θ.
        shared_factor: what the product along every path is multiplied by: X_j for a weight, 1 for a bias and the input.
        fed_units: the units of the output of θ's own layer that θ moves.
        derivations: name → value: closed form, reverse mode, forward mode, central difference. Forward mode is absent
            if PyTorch does not have it for an operation in a layer's forward.
        step: h of the central difference.
        setting: lines of Python that all notations begin with; they need `network` in float64 and `x` of one sample.
        notations: entry by entry, as a matrix product, as a vector-Jacobian product, in PyTorch; each executed.
        picture: the backward pass of Y_k at this sample; None if the network has too many layers for a picture.
    """

    file = "explanation"

    name: str
    index: tuple[int, ...]
    output: int
    sample: int
    formula: str
    lines: tuple[tuple[str, str], ...]
    factors: tuple[ChainFactor, ...]
    paths: Paths
    shared_factor: float
    fed_units: tuple[int, ...]
    derivations: dict[str, float]
    step: float
    setting: str
    notations: tuple[Notation, ...]
    picture: BackwardPicture | None

    @property
    def value(self) -> float:
        """∂Y_nk/∂θ by the closed form."""
        return self.derivations["closed form"]

    @property
    def where(self) -> str:
        """'0.weight[2,3]'."""
        return entry_name(self.name, self.index)

    @property
    def zero(self) -> str:
        """Why the value is zero, in a sentence; empty if it is not."""
        if self.value != 0:
            return ""
        if self.paths.count == 0:
            return self._no_path()
        zeros = [f"{factor.formula} = 0 (layer {factor.layer})" for factor in self.factors if factor.value == 0]
        if not zeros and self.paths.count > 1:
            return "the paths cancel."
        if not zeros:
            return "the product of the factors is smaller than any number in float64."
        everywhere = "" if self.paths.count == 1 else " on the largest path, so it is zero on every path"
        return f"{' and '.join(zeros)}{everywhere}: a product with a factor of zero is zero."

    def _no_path(self) -> str:
        k, i, *others = self.output, *self.fed_units
        later = "every layer works" if self.name == "input" else "every later layer works"
        units = listed(list(map(str, self.fed_units)))
        fed = "" if self.name == "input" else f"it feeds unit{'s' * bool(others)} {units} alone, and "
        return (
            f"δ_{k},{i} = 0: {fed}{later} on each unit by itself, so Y_{k} does not depend on {self.where}; "
            f"ask for output={i}."
        )

    @property
    def agreement(self) -> str:
        """How far the derivations differ from each other, and what contradicts them."""
        *exact, difference = self.derivations.values()
        spread, error = max(exact) - min(exact), abs(difference - self.value)
        sentences = [
            f"The first {_COUNT[len(exact)]} are within {spread:.1e} of each other, "
            f"the difference (h = {self.step:.1e}) within {error:.1e}."
        ]
        close = math.isclose(max(exact), min(exact), rel_tol=1e-9, abs_tol=1e-12)
        if not close or error > 1e-6 * max(1.0, abs(self.value)):
            sentences.append(
                "They do not agree: X may sit on a kink, or a layer's derivative is wrong; see nets.verify."
            )
        return " ".join([*sentences, *self._contradictions(exact)])

    def _contradictions(self, exact: Sequence[float]) -> list[str]:
        """A sentence for each formula that differs from the layer's derivative, and for each sum or notation that
        differs from every derivation."""
        sentences = [
            f"The formula of layer {factor.layer}, {factor.formula or 1}, gives "
            f"{sixteen_digits(factor.formula_value)}, "
            f"and its pullback or gradient gives {sixteen_digits(factor.value)}: one of the two is wrong."
            for factor in self.factors
            if not factor.consistent
        ]
        # Where large products cancel, their sum has the rounding error of the largest one.
        largest = max([abs(self.value), *(abs(path.product * self.shared_factor) for path in self.paths.shown)])
        numbers = [("The sum over the paths", self.paths.total * self.shared_factor)]
        numbers += [(f"The notation '{notation.name}'", notation.value) for notation in self.notations]
        return sentences + [
            f"{name} gives {sixteen_digits(value)}, which differs from every derivation: one of them is wrong."
            for name, value in numbers
            if not any(math.isclose(value, known, abs_tol=1e-12 + 1e-6 * largest) for known in exact)
        ]

    def blocks(self) -> list[Block]:
        """The document, in order."""
        title = f"∂Y_{self.output}/∂{self.where} at sample {self.sample} = {six_digits(self.value)}"
        parts: list[Block] = [Title(title), Lines((*self.lines, ("", f"= {six_digits(self.value)}")))]
        if self.zero:
            parts.append(Note(f"Zero: {self.zero}", highlighted=True))
        parts += [Title(self._chain_title(), 2), self._chain()]
        if self.paths.count > 1:
            parts += self._paths()
        derivations = [(name, sixteen_digits(value)) for name, value in self.derivations.items()]
        parts += [
            Title(f"{_COUNT[len(derivations)].capitalize()} derivations", 2),
            Table(("", "value"), tuple(derivations), numbers=1),
            Note(self.agreement),
        ]
        parts += [Title("Four notations, each executed", 2)]
        rows = [(each.name, each.statement, sixteen_digits(each.value), each.code) for each in self.notations]
        parts += [Table(("notation", "statement", "value", "code"), tuple(rows), numbers=2, code=3)]
        parts += [Note("Each code follows these lines; network is in float64, and x is the one sample:", self.setting)]
        return parts

    def _chain_title(self) -> str:
        which = "" if self.paths.count <= 1 else ", along the largest path"
        point = f"θ = {self.where}" if self._within else self.where
        return f"The chain of factors, from Y_{self.output} back to {point}{which}"

    @property
    def _within(self) -> bool:
        """Whether θ belongs to a layer within a layer: its name is too long for a table, which writes θ instead."""
        return self.name.count(".") > 1

    def _chain(self) -> Table:
        # A derivative that a layer cannot write has a name alone, and nothing to the right of it.
        written = ["" if f.formula == f.derivative else f.formula or "1" for f in self.factors]
        derivatives = [f.derivative for f in self.factors]
        if self._within:
            derivatives[-1] = derivatives[-1].partition("/∂")[0] + "/∂θ"
        rows = [
            (f.layer, derivative, formula, f.numbers, six_digits(f.value))
            for f, derivative, formula in zip(self.factors, derivatives, written, strict=True)
        ]
        if len(rows) > 1:
            rows.append(("", "", "", "their product", six_digits(math.prod(f.value for f in self.factors))))
        return Table(("layer", "derivative", "is", "in numbers", "value"), tuple(rows), numbers=4, total=len(rows) > 1)

    def _paths(self) -> list[Block]:
        shown, products = self.paths.shown, [path.product * self.shared_factor for path in self.paths.shown]
        others = self.paths.count - len(shown)
        rows = [(self._route(path.units), six_digits(product)) for path, product in zip(shown, products, strict=True)]
        if others:
            rows.append((f"the other {_count(others)} together", six_digits(self.paths.rest * self.shared_factor)))
        total = self.paths.total * self.shared_factor
        rows.append(("sum", sixteen_digits(total)))
        ways = f"{_count(self.paths.count)} paths lead from Y_{self.output} to {self.where}"
        difference = Note(f"The sum and the closed form differ by {abs(total - self.value):.1e}.")
        table = Table(("units, last layer first", "product"), tuple(rows), numbers=1, total=True)
        return [Title(f"{ways}; their products add up", 2), table, difference]

    def _route(self, units: Sequence[int]) -> str:
        """'Y_2 ← 7 ← 3': the output, and each unit that the path chose among several."""
        turns = [units[0], *(below for below, factor in zip(units[1:], self.factors, strict=False) if factor.dense)]
        if len(turns) > 12:
            return f"Y_{turns[0]} ← {' ← '.join(map(str, turns[1:6]))} ← … ← {' ← '.join(map(str, turns[-3:]))}"
        return f"Y_{turns[0]} ← {' ← '.join(map(str, turns[1:]))}"

    def _repr_html_(self) -> str:
        if self.picture is None:
            return as_html(self.blocks())
        return as_html([*self.blocks(), Title(f"The backward pass of Y_{self.output}", 2)], self.picture.to_svg())

    def files(self) -> dict[str, str]:
        """The page, the text, and the picture as backward.html and backward.svg."""
        if self.picture is None:
            return super().files()
        return super().files() | {"backward.html": self.picture.to_html(), "backward.svg": self.picture.to_svg()}


def _count(number: int) -> str:
    """'1,024' or '4.72e+21'; a whole number may exceed every float."""
    if number < 10**9:
        return f"{number:,}"
    exponent = math.floor(logarithm := math.log10(number))
    return f"{10 ** (logarithm - exponent):.2f}e+{exponent}"
