"""The short texts on the nodes and edges of a picture."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.explanation.picture.graph.graph import BackwardStep, Edge
from nets.text import four_digits

SHOWN_ENTRIES = 4
"""Entries up to which a vector is shown in full; a longer one is shown by its shape and length."""

SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def subscripted(name: str) -> str:
    """'v12' → 'v₁₂', 'H1_2' → 'H1₂'; '0.weight' stays."""
    indexed = re.sub(r"_(\d+)", lambda found: found[1].translate(SUBSCRIPT), name)
    numbered = r"(?<![a-zA-Z])([a-zA-Z])(\d+)(?![\d.₀-₉])"
    return re.sub(numbered, lambda found: found[1] + found[2].translate(SUBSCRIPT), indexed)


def value_text(value: Tensor) -> str:
    """One number, a short vector, or the shape and the length ‖·‖ of a larger tensor."""
    if value.numel() == 1:
        return four_digits(float(value))
    if _is_short(value):
        return f"[{', '.join(four_digits(float(entry)) for entry in value)}]"
    return f"({' × '.join(map(str, value.shape))})  ‖·‖ = {four_digits(length(value))}"


def equation(letters: str, value: Tensor) -> str:
    """'∂y/∂x = 2', or '‖∂y/∂x‖ = 2' for a tensor too large to be shown."""
    shown = value.numel() == 1 or _is_short(value)
    return f"{letters} = {value_text(value)}" if shown else f"‖{letters}‖ = {four_digits(length(value))}"


def length(value: Tensor) -> float:
    """‖value‖. For one number it is the absolute value, since its square may overflow."""
    return abs(float(value)) if value.numel() == 1 else float(value.double().norm())


def sign(value: Tensor) -> int:
    """The sign of one number; 0 for NaN and for several numbers."""
    if value.numel() != 1:
        return 0
    return (float(value) > 0) - (float(value) < 0)


def sum_text(terms: list[Tensor]) -> str:
    """'0.5 + 1.2 − 0.3', or the lengths of terms with many entries."""
    if any(term.numel() != 1 for term in terms):
        return " + ".join(
            value_text(term) if term.numel() <= SHOWN_ENTRIES else f"‖{four_digits(length(term))}‖" for term in terms
        )
    text = four_digits(float(terms[0]))
    for term in terms[1:]:
        number = float(term)
        text += f" {'−' if number < 0 else '+'} {four_digits(abs(number))}"
    return text


@dataclass(frozen=True)
class EdgeLabel:
    """The text on an edge.

    Attributes:
        text: the local derivative, or '×' and the ratio below.
        ratio: ‖contribution‖ / ‖gradient‖, if the local derivative is too large to be shown; None otherwise.
    """

    text: str
    ratio: float | None = None


def edge_label(edge: Edge, steps: dict[int, BackwardStep]) -> EdgeLabel:
    """The local derivative as a number, a row, a column or a diagonal; otherwise how much it stretches the gradient.

    Args:
        edge: the edge.
        steps: id of a node → its step of the backward pass.
    """
    if edge.detached:
        return EdgeLabel("cut")
    if edge.local is not None and (text := _local_text(edge.local.reshape(edge.target.value.numel(), -1))):
        return EdgeLabel(text)
    step = steps.get(id(edge.target))
    if step is None or not length(step.gradient):
        return EdgeLabel("")
    (contribution,) = [contribution for sent_along, contribution in step.sent if sent_along is edge]
    ratio = length(contribution) / length(step.gradient)
    return EdgeLabel(f"×{four_digits(ratio)}", ratio)


def _local_text(local: Tensor) -> str:
    """A local Jacobian that is a number, a row, a column or a diagonal; '' for any other."""
    if min(local.shape) == 1 and local.numel() <= SHOWN_ENTRIES:
        flat = value_text(local.reshape(-1))
        return f"{flat}ᵀ" if local.shape[0] > 1 else flat
    if not local.shape[0] == local.shape[1] <= SHOWN_ENTRIES:
        return ""
    diagonal = local.diagonal()
    if not torch.allclose(torch.diag(diagonal), local, rtol=0, atol=0, equal_nan=True):
        return ""
    if not (diagonal == diagonal[0]).all():
        return f"diag{value_text(diagonal)}"
    return "I" if diagonal[0] == 1 else f"{four_digits(float(diagonal[0]))} I"


def _is_short(value: Tensor) -> bool:
    return value.ndim == 1 and len(value) <= SHOWN_ENTRIES
