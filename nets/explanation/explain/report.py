"""The record of an explanation, and what it has to say, in order: the same for a terminal and for a page."""

import html as markup
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nets.errors import InputError
from nets.explanation.document import Block, Lines, Note, Table, Title, as_html, as_text
from nets.explanation.explain.notations import Notation
from nets.explanation.explain.numbers import exact, number
from nets.explanation.paths import Paths
from nets.explanation.picture.picture import BackwardPicture
from nets.explanation.selection import entry_name


@dataclass(frozen=True)
class Factor:
    """One factor on the way from Y_k back to the number: the layer, what is differentiated by what, how, and its value."""

    layer: str
    derivative: str
    written: str
    numbers: str
    value: float


@dataclass(frozen=True, repr=False)  # beside its HTML a notebook keeps the repr
class Explanation:
    """∂Y_nk/∂θ for one number θ.

    Attributes:
        name, index: which number θ is.
        output, sample: k and n.
        formula: the Jacobian in index form.
        lines: (label, formula): in letters, with the chain rule written out, with the indices, with the numbers.
        factors: along the largest path, from Y_k back to θ.
        paths: from Y_k to the unit that θ belongs to, whose products add up.
        own: the factor X_j of a weight, which all paths share; 1 for a bias and the input.
        derivations: name → value: closed form, reverse mode, forward mode, central difference.
        step: h of the central difference.
        setting: the lines of Python that all notations begin with; they need `network` in float64 and `x` of one sample.
        notations: entry by entry, as a matrix product, as a vector-Jacobian product, in PyTorch; each executed.
        picture: the backward pass of Y_k at this sample; None for a network too deep to be drawn.
    """

    name: str
    index: tuple[int, ...]
    output: int
    sample: int
    formula: str
    lines: tuple[tuple[str, str], ...]
    factors: tuple[Factor, ...]
    paths: Paths
    own: float
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
        """Why the value is zero, in a sentence; empty where it is not."""
        if self.value != 0:
            return ""
        k, i = self.output, self.index[0]
        if self.paths.count == 0:
            seen = (
                "every layer works" if self.name == "input" else f"it feeds unit {i} alone, and every later layer works"
            )
            return f"δ_{k},{i} = 0: {seen} on each unit by itself, so Y_{k} does not depend on {self.where}; ask for output={i}."
        faint = [f"{factor.written} = 0 (layer {factor.layer})" for factor in self.factors if factor.value == 0]
        if not faint and self.paths.count > 1:
            return "the paths cancel."
        if not faint:
            return "the product of the factors is below the smallest number there is."
        most = "" if self.paths.count == 1 else " on the largest path, so it is zero on every path"
        return f"{' and '.join(faint)}{most}: what is multiplied by zero does not get through."

    @property
    def agreement(self) -> str:
        """How far the derivations are apart."""
        exact = [self.derivations[name] for name in ("closed form", "reverse mode", "forward mode")]
        apart, off = max(exact) - min(exact), abs(self.derivations["central difference"] - self.value)
        close = math.isclose(max(exact), min(exact), rel_tol=1e-9, abs_tol=1e-12) and off <= 1e-6 * max(
            1.0, abs(self.value)
        )
        said = f"The first three are within {apart:.1e} of each other, the difference (h = {self.step:.1e}) within {off:.1e}."
        return (
            said
            if close
            else f"{said} They do not agree: X may sit on a kink, or a layer's derivative is wrong; see nets.verify."
        )

    def blocks(self) -> list[Block]:
        """All there is to say, in order."""
        title = f"∂Y_{self.output}/∂{self.where} at sample {self.sample} = {number(self.value)}"
        parts: list[Block] = [Title(title), Lines((*self.lines, ("", f"= {number(self.value)}")))]
        if self.zero:
            parts.append(Note(f"Zero: {self.zero}", highlighted=True))
        parts += [Title(self._chain_title(), 2), self._chain()]
        if self.paths.count > 1:
            parts += self._paths()
        derivations = [(name, exact(value)) for name, value in self.derivations.items()]
        parts += [
            Title("Four derivations", 2),
            Table(("", "value"), tuple(derivations), numbers=1),
            Note(self.agreement),
        ]
        parts += [Title("Four notations, each run as it stands", 2)]
        rows = [(each.name, each.statement, exact(each.value), each.code) for each in self.notations]
        parts += [Table(("notation", "statement", "value", "code"), tuple(rows), numbers=2, code=3)]
        parts += [Note("Each code follows on these lines, with network in float64 and x the one sample:", self.setting)]
        return parts

    def _chain_title(self) -> str:
        which = "" if self.paths.count <= 1 else ", along the largest path"
        return f"The chain of factors, from Y_{self.output} back to {self.where}{which}"

    def _chain(self) -> Table:
        rows = [(f.layer, f.derivative, f.written, f.numbers, number(f.value)) for f in self.factors]
        if len(rows) > 1:
            rows.append(("", "", "", "their product", number(math.prod(f.value for f in self.factors))))
        return Table(("layer", "derivative", "is", "in numbers", "value"), tuple(rows), numbers=4, total=len(rows) > 1)

    def _paths(self) -> list[Block]:
        shown, products = self.paths.shown, [path.product * self.own for path in self.paths.shown]
        others = self.paths.count - len(shown)
        rows = [(self._route(path.units), number(product)) for path, product in zip(shown, products, strict=True)]
        if others:
            rows.append((f"the other {_count(others)} together", number(self.paths.rest * self.own)))
        total = self.paths.total * self.own
        rows.append(("sum", exact(total)))
        ways = f"{_count(self.paths.count)} paths lead from Y_{self.output} to {self.where}"
        say = f"The sum and the closed form differ by {abs(total - self.value):.1e}."
        table = Table(("units, last layer first", "product"), tuple(rows), numbers=1, total=True)
        return [Title(f"{ways}; their products add up", 2), table, Note(say)]

    def _route(self, units: Sequence[int]) -> str:
        """'Y_2 ← 7 ← 3': the unit wherever a path could have gone elsewhere."""
        turns = [
            units[0],
            *(below for above, below, mixes in zip(units, units[1:], self._mixes(), strict=False) if mixes),
        ]
        if len(turns) > 12:
            return f"Y_{turns[0]} ← {' ← '.join(map(str, turns[1:6]))} ← … ← {' ← '.join(map(str, turns[-3:]))}"
        return f"Y_{turns[0]} ← {' ← '.join(map(str, turns[1:]))}"

    def _mixes(self) -> list[bool]:
        return [factor.written.startswith("W") for factor in self.factors]

    def __repr__(self) -> str:
        """For a terminal of 80 columns or more."""
        return as_text(self.blocks())

    def to_html(self) -> str:
        """A page of its own, which needs nothing else."""
        title = markup.escape(f"∂Y_{self.output}/∂{self.where}")
        return f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n{self._repr_html_()}\n</html>\n'

    def _repr_html_(self) -> str:
        if self.picture is None:
            return as_html(self.blocks())
        return as_html([*self.blocks(), Title(f"The backward pass of Y_{self.output}", 2)], self.picture.to_svg())

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write explanation.html and explanation.txt into a folder, and the picture as backward.html and backward.svg.

        Raises:
            InputError: if one of them is there already, since nothing is ever overwritten.
        """
        texts = {"explanation.html": self.to_html(), "explanation.txt": f"{self}\n"}
        if self.picture is not None:
            texts |= {"backward.html": self.picture.to_html(), "backward.svg": self.picture.to_svg()}
        for name in texts:
            if (path := Path(directory, name)).exists():
                raise InputError(f"{path} is there already, and nothing is ever overwritten: name another folder.")
        for name, text in texts.items():
            Path(directory, name).write_text(text, encoding="utf-8")


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**9 else f"{float(number):.2e}"
