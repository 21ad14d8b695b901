"""Numbers as an explanation writes them."""

import re

from nets.calculus.notation.symbols import as_factor
from nets.text import six_digits


def factor_text(value: float) -> str:
    """A number within a product: a negative one in brackets."""
    return six_digits(value) if value >= 0 else f"({six_digits(value)})"


def with_values(symbol: str, z: float, y: float) -> str:
    """'(1 − {y}²)' → '(1 − 0.5²)'; no number has two pairs of brackets."""
    apart = re.sub(r"(?<=[\d}²³)\]])\s*(?=\{)", " · ", as_factor(symbol))  # '3{z}²' → '3 · {z}²'
    text = apart.format(z=factor_text(z), y=factor_text(y))
    return re.sub(r"\((\(-[^()]*\))\)", r"\1", text)
