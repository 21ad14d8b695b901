"""What stands on the nodes and edges of a picture, in few characters."""

import math
import re

import torch
from torch import Tensor

from nets.explanation.picture.graph import Edge, Moment

FEW = 4
"""Numbers that are written out."""

LOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def lowered(name: str) -> str:
    """'v12' → 'v₁₂', 'H1_2' → 'H1₂'; '0.weight' stays."""
    lowered = re.sub(r"_(\d+)", lambda found: found[1].translate(LOW), name)
    return re.sub(r"(?<![a-zA-Z])([a-zA-Z])(\d+)(?![\d.₀-₉])", lambda found: found[1] + found[2].translate(LOW), lowered)


def short(number: float) -> str:
    """Four digits, with a minus sign that is one; NaN, ∞ and −∞."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    return f"{number + 0.0:.4g}".replace("-", "−").replace("e−0", "e−").replace("e+0", "e")


def figures(value: Tensor) -> str:
    """A number; a few numbers; or the shape and the length ‖·‖ of many."""
    if value.numel() == 1:
        return short(float(value))
    if value.ndim == 1 and len(value) <= FEW:
        return f"[{', '.join(short(float(one)) for one in value)}]"
    return f"({' × '.join(map(str, value.shape))})  ‖·‖ = {short(length(value))}"


def equation(letters: str, value: Tensor) -> str:
    """'∂y/∂x = 2', or '‖∂y/∂x‖ = 2' where there are many numbers."""
    few = value.numel() == 1 or (value.ndim == 1 and len(value) <= FEW)
    return f"{letters} = {figures(value)}" if few else f"‖{letters}‖ = {short(length(value))}"


def length(value: Tensor) -> float:
    """‖value‖; the size of a single number is found without its square, which may overflow."""
    return abs(float(value)) if value.numel() == 1 else float(value.double().norm())


def sign(value: Tensor) -> int:
    """Of one number; 0 for several, which have none, and for NaN."""
    if value.numel() != 1:
        return 0
    return (float(value) > 0) - (float(value) < 0)


def added(parts: list[Tensor]) -> str:
    """'0.5 + 1.2 − 0.3', or lengths where they are no numbers."""
    if any(part.numel() != 1 for part in parts):
        return " + ".join(figures(part) if part.numel() <= FEW else f"‖{short(length(part))}‖" for part in parts)
    text = short(float(parts[0]))
    for part in parts[1:]:
        number = float(part)
        text += f" {'−' if number < 0 else '+'} {short(abs(number))}"
    return text


def local(edge: Edge, moments: dict[int, Moment]) -> str:
    """The local derivative: a number, a row, a column, a diagonal; else by how much it lengthens the gradient."""
    if edge.cut:
        return "cut"
    found = edge.local
    if found is not None:
        found = found.reshape(edge.target.value.numel(), edge.source.value.numel())
        if min(found.shape) == 1 and found.numel() <= FEW:
            flat = figures(found.reshape(-1))
            return f"{flat}ᵀ" if found.shape[0] > 1 else flat
        diagonal = found.diagonal()
        if found.shape[0] == found.shape[1] <= FEW and torch.allclose(torch.diag(diagonal), found, rtol=0, atol=0, equal_nan=True):
            return _of_one_number(diagonal) or f"diag{figures(diagonal)}"
    moment = moments.get(id(edge.target))
    if moment is None or not length(moment.gradient):
        return ""
    (handed,) = [contribution for one, contribution in moment.handed if one is edge]
    return f"×{short(length(handed) / length(moment.gradient))}"


def _of_one_number(diagonal: Tensor) -> str:
    """'I' or '2 I', where all of the diagonal is the same; else nothing."""
    one = float(diagonal[0])
    return ("I" if one == 1 else f"{short(one)} I") if bool((diagonal == one).all()) else ""


def stretches(text: str) -> bool:
    """Whether a local derivative is told by what it does to the length of the gradient."""
    return text.startswith("×")


def sentences(moment: Moment, y: str) -> list[str]:
    """What happens at one step."""
    node = moment.node
    name = lowered(node.name)
    own = f"∂{y}/∂{name}"
    said = []
    if not moment.received:
        said.append(f"<b>{own} = 1</b>: the number moves as much as itself.")
    elif len(moment.received) == 1:
        said.append(f"<b>{_full(own, moment.gradient)}</b>: it has one user, {lowered(moment.received[0][0].target.name)}.")
    else:
        users = ", ".join(lowered(edge.target.name) for edge, _ in moment.received)
        parts = added([contribution for _, contribution in moment.received])
        count = len(moment.received)
        said.append(f"{name} is used {count} times, by {users}: {parts} adds up to <b>{_full(own, moment.gradient)}</b>.")
    for edge, contribution in moment.handed:
        if not edge.source.drawn:
            continue
        text = local(edge, {id(node): moment})
        if moment.gradient.numel() == 1 and contribution.numel() == 1 and edge.local is not None:
            shown = f"{figures(moment.gradient)} · {_bracketed(text)} = <b>{figures(contribution)}</b>"
        elif stretches(text):
            shown = f"the length {short(length(moment.gradient))} times {text[1:]} = <b>{short(length(contribution))}</b>"
        else:
            shown = f"{figures(moment.gradient)} through {text} gives <b>{figures(contribution)}</b>"
        said.append(f"It hands on to {lowered(edge.source.name)}: {shown}")
    if any(_zero_became_nan(moment.gradient, contribution) for _, contribution in moment.handed):
        said.append("Zero times NaN or ∞ is NaN: a branch that is not taken spoils the gradient where it has no derivative.")
    return said


def _zero_became_nan(gradient: Tensor, contribution: Tensor) -> bool:
    """Whether a gradient of zero was handed on as NaN, entry by entry."""
    return gradient.shape == contribution.shape and bool(((gradient == 0) & contribution.isnan()).any())


def _bracketed(text: str) -> str:
    return f"({text})" if text.startswith("−") else text


def _full(letters: str, value: Tensor) -> str:
    """A small matrix is written row by row here, where there is room."""
    if value.ndim == 2 and value.numel() <= 30:
        return f"{letters} = [" + "; ".join(", ".join(short(float(one)) for one in row) for row in value) + "]"
    return equation(letters, value)
