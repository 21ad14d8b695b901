"""Numbers as an explanation writes them."""

import re


def number_text(value: float) -> str:
    """Six digits."""
    return f"{value + 0.0:.6g}"  # −0 + 0 is 0


def exact_text(value: float) -> str:
    """Sixteen digits, all that float64 guarantees."""
    return f"{value + 0.0:.16g}"


def factor_text(value: float) -> str:
    """A number within a product: a negative one in brackets."""
    return number_text(value) if value >= 0 else f"({number_text(value)})"


def with_values(symbol: str, z: float, y: float) -> str:
    """'(1 − {y}²)' → '(1 − 0.5²)'; no number has two pairs of brackets."""
    text = symbol.format(z=factor_text(z), y=factor_text(y))
    return re.sub(r"\((\(-[^()]*\))\)", r"\1", text)
