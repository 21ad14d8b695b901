"""A formula in letters → the same with indices, and with numbers put in."""

import re
from collections.abc import Mapping

SUBSCRIPT = re.compile(r"_([a-z]+)")
QUANTITY = re.compile(r"(δ|A|W\d*|H\d+|X|Y)_([\d,]+)")


def number(value: float) -> str:
    """Six digits of a number."""
    return f"{value + 0.0:.6g}"  # −0 + 0 is 0


def exact(value: float) -> str:
    """Sixteen digits of a number, all that are sure."""
    return f"{value + 0.0:.16g}"


def factor(value: float) -> str:
    """A number as it stands among others: a negative one in brackets."""
    return number(value) if value >= 0 else f"({number(value)})"


def once_bracketed(formula: str) -> str:
    """'Φ((-0.5))' → 'Φ(-0.5)'."""
    return re.sub(r"\((\(-[^()]*\))\)", r"\1", formula)


def with_indices(formula: str, indices: Mapping[str, int]) -> str:
    """'δ_ki X_j' → 'δ_2,2 X_3'. A letter that is summed over stays."""
    bound = set(re.findall(r"Σ_([a-z])", formula))

    def put_in(found: re.Match[str]) -> str:
        parts = [str(indices[one]) if one in indices and one not in bound else one for one in found[1]]
        return "_" + ",".join(parts)

    return SUBSCRIPT.sub(put_in, formula)


def with_numbers(indexed: str, values: Mapping[str, float]) -> str:
    """'δ_2,2 (1 − Y_2²) X_3' → '1 · (1 − 0.5²) · 0.25', with `values` of 'δ_2,2', 'Y_2' and 'X_3'."""
    put_in = once_bracketed(QUANTITY.sub(lambda found: factor(values[found[0]]), indexed))
    parts: list[str] = []
    for word in put_in.split(" "):
        open_before = (
            sum(parts[-1].count(one) for one in "([") > sum(parts[-1].count(one) for one in ")]") if parts else False
        )
        if parts and (open_before or parts[-1].isalpha()):  # within brackets, or after the name of a function
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    return " · ".join(parts)
