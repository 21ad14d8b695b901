"""The caption of each position of the slider, as HTML."""

import html as markup

from torch import Tensor

from nets.explanation.picture.drawing.labels import edge_label, equation, length, subscripted, sum_text, value_text
from nets.explanation.picture.graph.graph import BackwardStep, Edge
from nets.text import four_digits

SHOWN_MATRIX = 30
"""The most entries of a matrix that is shown row by row."""


def first_caption(y: str) -> str:
    """Before the first step, when only the forward pass has run."""
    return (
        "<div><b>The forward pass is done:</b> every value is known, and on every line the local derivative.</div>"
        f"<div>The backward pass computes the derivative of {_name(y)} by each of them, from right to left.</div>"
    )


def caption(step: BackwardStep, y: str) -> str:
    """What one step of the backward pass does: how the gradient was added up, and what it sends backward."""
    sentences = [_gradient(step, y)]
    sentences += [_contribution(step, edge, sent) for edge, sent in step.sent if edge.source.drawn]
    if any(_zero_became_nan(step.gradient, contribution) for _, contribution in step.sent):
        sentences.append(
            "Zero times NaN or ∞ is NaN: a branch without a derivative makes the gradient NaN, even if it is not taken."
        )
    return "".join(f"<div>{sentence}</div>" for sentence in sentences)


def _gradient(step: BackwardStep, y: str) -> str:
    name = _name(step.node.name)
    derivative = f"∂{_name(y)}/∂{name}"
    users = [_name(edge.target.name) for edge, _ in step.received]
    if not users:
        return f"<b>{derivative} = 1</b>: the derivative of a number by itself."
    if len(users) == 1:
        return f"<b>{_full(derivative, step.gradient)}</b>: it has one user, {users[0]}."
    total = sum_text([contribution for _, contribution in step.received])
    return (
        f"{name} is used {len(users)} times, by {', '.join(users)}: "
        f"{total} adds up to <b>{_full(derivative, step.gradient)}</b>."
    )


def _contribution(step: BackwardStep, edge: Edge, contribution: Tensor) -> str:
    label = edge_label(edge, {id(step.node): step})
    gradient = step.gradient
    if gradient.numel() == 1 and contribution.numel() == 1 and edge.local is not None:
        factor = f"({label.text})" if float(edge.local) < 0 else label.text
        result = f"{value_text(gradient)} · {factor} = <b>{value_text(contribution)}</b>"
    elif label.ratio is not None:
        sent = four_digits(length(contribution))
        result = f"its length is {four_digits(length(gradient))} · {four_digits(label.ratio)} = <b>{sent}</b>"
    else:
        result = f"{value_text(gradient)} becomes <b>{value_text(contribution)}</b> in {label.text}"
    return f"It contributes to {_name(edge.source.name)}: {result}"


def _name(name: str) -> str:
    return markup.escape(subscripted(name))


def _zero_became_nan(gradient: Tensor, contribution: Tensor) -> bool:
    """Whether the gradient has a zero where the contribution that it was multiplied into is NaN."""
    return gradient.shape == contribution.shape and bool(((gradient == 0) & contribution.isnan()).any())


def _full(letters: str, value: Tensor) -> str:
    """The gradient; a small matrix row by row, since a caption has room for it."""
    if value.ndim == 2 and value.numel() <= SHOWN_MATRIX:
        return (
            f"{letters} = [" + "; ".join(", ".join(four_digits(float(entry)) for entry in row) for row in value) + "]"
        )
    return equation(letters, value)
