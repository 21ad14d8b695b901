"""Numbers as an explanation writes them."""

import re

from nets.text import six_digits


def factor_text(value: float) -> str:
    """A number within a product: a negative one in brackets."""
    return six_digits(value) if value >= 0 else f"({six_digits(value)})"


def with_values(symbol: str, **values: float) -> str:
    """'(1 − {y}²)' → '(1 − 0.5²)'; no number has more brackets than it needs."""
    apart = re.sub(r"(?<=[\d}²³)\]])\s*(?=\{)", " · ", symbol)  # '3{z}²' → '3 · {z}²'
    text = apart.format(**{letter: factor_text(value) for letter, value in values.items()})
    text = re.sub(r"\((\(-[^()]*\))\)", r"\1", text)
    return re.sub(r"\(\((-[^()]*)\) ", r"(\1 ", text)  # the first of a sum, '(-0.5 − 1)'
