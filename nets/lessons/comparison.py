"""The same derivative by every engine, side by side."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from nets.lessons.engines import Found, installed, vjp
from nets.lessons.function import Function
from nets.text import aligned
from nets.verification.derivations.engines.reading import Array, OutOfReachError


@dataclass(frozen=True, repr=False)
class Comparison:
    """The results of all engines for one function at one point, as text, and as a table in a notebook.

    Attributes:
        function: f.
        at: its arguments.
        v: the cotangent, None for ones.
        found: engine → y and gradients.
        unable: engine → why it has no result.
    """

    function: Function
    at: tuple[Array, ...]
    v: Array | None
    found: Mapping[str, Found]
    unable: Mapping[str, str]

    @property
    def gradients(self) -> tuple[Array, ...]:
        """Σ v ∂y/∂x for each argument, by PyTorch."""
        return self.found["PyTorch"].gradients

    @property
    def largest_difference(self) -> float:
        """Between PyTorch and any other engine, in y or in any gradient."""
        first = self.found["PyTorch"]
        pairs = [pair for other in self.found.values() for pair in zip(_numbers(first), _numbers(other), strict=True)]
        return max(float(np.max(np.abs(a - b), initial=0)) for a, b in pairs)

    def rows(self) -> list[list[str]]:
        """A heading, then one row for each engine: its name, y, and the gradient by each argument."""
        by = f"∂{self.function.output}/∂"
        if self.v is not None:
            by = f"Σ v {by}"
        elif self.found["PyTorch"].y.ndim:
            by = f"Σ {by}"
        heading = ["", self.function.output, *(by + name for name in self.function.arguments)]
        return [heading, *([name, *map(shown, _numbers(found))] for name, found in self.found.items())]

    def caption(self) -> str:
        """The function and its arguments, in one line."""
        at = ", ".join(f"{name} = {shown(x)}" for name, x in zip(self.function.arguments, self.at, strict=True))
        return f"{self.function} at {at}" + ("" if self.v is None else f", v = {shown(self.v)}")

    def notes(self) -> list[str]:
        """The largest difference between engines, and why an engine is missing."""
        apart = self.largest_difference
        return [f"largest difference {apart:.0e}" if apart else "largest difference 0"] + [
            f"{name}: {why}" for name, why in self.unable.items()
        ]

    def __repr__(self) -> str:
        return "\n".join([self.caption(), *aligned(self.rows()), *self.notes()])

    def _repr_html_(self) -> str:
        heading, *rows = self.rows()
        return (
            f"<p>{escape(self.caption())}</p><table><thead>{_html_row('th', heading)}</thead><tbody>"
            f"{''.join(_html_row('td', row) for row in rows)}</tbody></table>"
            f"<p>{'<br>'.join(map(escape, self.notes()))}</p>"
        )


def compare(function: Function, *at: ArrayLike, v: ArrayLike | None = None) -> Comparison:
    """y = f(x) and Σ v ∂y/∂x by every installed engine. Arguments and errors are those of `nets.lessons.vjp`."""
    found: dict[str, Found] = {}
    unable: dict[str, str] = {}
    for name in installed():
        try:
            found[name] = vjp(name, function, *at, v=v)
        except OutOfReachError as reason:
            unable[name] = str(reason)
    numbers = tuple(np.array(point, dtype=np.float64) for point in at)
    return Comparison(function, numbers, None if v is None else np.array(v, dtype=np.float64), found, unable)


def shown(numbers: ArrayLike) -> str:
    """A number with four decimals or five digits, a whole number as such; a long vector by its ends."""
    array = np.asarray(numbers, dtype=np.float64)
    if array.ndim == 0:
        return _number(float(array))
    entries = [shown(entry) for entry in array]
    return f"[{', '.join(entries if len(entries) <= 8 else [*entries[:3], '…', *entries[-3:]])}]"


def _number(number: float) -> str:
    if abs(number) < 1e9 and number == round(number, 4):
        return f"{number + 0.0:.4f}".rstrip("0").rstrip(".")  # −0 is 0 to a reader
    return (
        f"{number:.4f}"
        if 0.01 <= abs(number) < 1000
        else f"{number:.1f}"
        if 1000 <= abs(number) < 1e6
        else f"{number:.5g}"
    )


def _numbers(found: Found) -> Iterable[Array]:
    return (found.y, *found.gradients)


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
