"""Functions of one number, applied entry by entry, each with its slope directly beneath."""

from typing import Any

import numpy as np

from nets.calculus.mathematics import Mathematics
from nets.lessons.function import EntryByEntry
from nets.verification.derivations.engines.reading import Array


class Square(EntryByEntry):
    formula = "y = x²"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return x[0] ** 2

    def slope(self, x: Array) -> Array:
        return 2 * x


class ThreeSquares(EntryByEntry):
    formula = "y = 3x²"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return 3 * x[0] ** 2

    def slope(self, x: Array) -> Array:
        return 6 * x


class Cube(EntryByEntry):
    formula = "y = x³"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return x[0] ** 3

    def slope(self, x: Array) -> Array:
        return 3 * x**2


class Double(EntryByEntry):
    formula = "y = 2x"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return 2 * x[0]

    def slope(self, x: Array) -> Array:
        return np.full_like(x, 2)


class NineOver(EntryByEntry):
    formula = "y = 9/x"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return 9 / x[0]

    def slope(self, x: Array) -> Array:
        return np.asarray(-9 / x**2)


class EightMinus(EntryByEntry):
    formula = "y = 8 − x"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return 8 - x[0]

    def slope(self, x: Array) -> Array:
        return np.full_like(x, -1)


class ElevenPlus(EntryByEntry):
    formula = "y = 11 + x"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return 11 + x[0]

    def slope(self, x: Array) -> Array:
        return np.ones_like(x)


class Sine(EntryByEntry):
    formula = "y = sin x"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.sin(x[0])

    def slope(self, x: Array) -> Array:
        return np.asarray(np.cos(x))


class HyperbolicTangent(EntryByEntry):
    formula = "y = tanh x"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.tanh(x[0])

    def slope(self, x: Array) -> Array:
        return np.asarray(1 / np.cosh(x) ** 2)


class LogSquareSine(EntryByEntry):
    formula = "y = log(x²) sin x + 1/x"

    def forward(self, m: Mathematics, *x: Any) -> Any:
        return m.log(x[0] ** 2) * m.sin(x[0]) + 1 / x[0]

    def slope(self, x: Array) -> Array:
        """(2/x) sin x + log(x²) cos x − 1/x²: one term for each of the three paths from x to y."""
        return np.asarray(2 / x * np.sin(x) + np.log(x**2) * np.cos(x) - 1 / x**2)
