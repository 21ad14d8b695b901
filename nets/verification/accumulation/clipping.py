"""Whether what a loop left is a gradient that was clipped at each micro-batch, and not once at the end."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nets.verification.accumulation.window import Gradients

ADDED = 1e-6
"""What clip_grad_norm_ adds to the norm that it divides by."""

ROUNDS = 8
"""Times that a bound is corrected by what it leads to."""

Like = Callable[[Gradients], bool]


def clipping(found: Gradients, parts: list[Gradients], weights: Sequence[float], like: Like) -> str:
    """What was clipped, in words; '' where it was not.

    Args:
        found: what the loop left.
        parts: G_m.
        weights: w_m, with which they make the whole; means of means and plain sums are tried as well.
        like: whether a gradient is what the loop left.
    """
    counted = [m for m, part in enumerate(parts) if any(gradient.any() for gradient in part.values())]
    if len(counted) < 2:
        return ""
    left, vectors = _flat(found), [_flat(parts[m]) for m in counted]
    for scales in ([weights[m] for m in counted], [1 / len(counted)] * len(counted), [1.0] * len(counted)):
        terms = [scale * vector for scale, vector in zip(scales, vectors, strict=True)]
        for bound, guess in (*_sums(left, terms), *_each(left, terms)):
            if like(_like_that(guess, found)):
                return f"clipped at each micro-batch, to a norm of {bound:.3g}: clip once, after the last"
        for bound, guess in _values(left, terms):
            if like(_like_that(guess, found)):
                return f"clipped at each micro-batch, to values up to {bound:.3g}: clip once, after the last"
    return ""


def _sums(left: Tensor, terms: list[Tensor]) -> list[tuple[float, Tensor]]:
    """A_m = clip(A_{m−1} + T_m): what stands in .grad is clipped after each backward pass. The bound is its norm after the last
    micro-batch that was clipped."""
    guesses = []
    for last in range(len(terms), 0, -1):
        after = sum(terms[last:], torch.zeros_like(left))
        bound = wanted = float((left - after).norm())
        for _ in range(ROUNDS):
            total = torch.zeros_like(left)
            for term in terms[:last]:
                total = _clip(total + term, bound)
            size = float(total.norm())
            bound *= wanted / size if size else 1.0
        guesses.append((bound, total + after))
    return guesses


def _each(left: Tensor, terms: list[Tensor]) -> list[tuple[float, Tensor]]:
    """Σ_m clip(T_m): each micro-batch's own gradient is clipped; those with the largest norms are."""
    order, guesses = sorted(terms, key=lambda term: -float(term.norm())), []
    for count in range(1, len(order) + 1):
        direction = sum((term / (term.norm() + ADDED) for term in order[:count]), torch.zeros_like(left))
        rest = sum(order[count:], torch.zeros_like(left))
        square = float(direction @ direction)
        bound = float((left - rest) @ direction) / square if square else 0.0
        guesses.append((bound, sum((_clip(term, bound) for term in order), torch.zeros_like(left))))
    return guesses


def _values(left: Tensor, terms: list[Tensor]) -> list[tuple[float, Tensor]]:
    """The same with each number clipped by itself: the bound is the largest that stands in .grad in the end."""
    bound, total = float(left.abs().max()), torch.zeros_like(left)
    for term in terms:
        total = (total + term).clamp(-bound, bound)
    return [(bound, total)]


def _clip(vector: Tensor, bound: float) -> Tensor:
    return vector * min(1.0, bound / (float(vector.norm()) + ADDED))


def _flat(gradients: Gradients) -> Tensor:
    return torch.cat([gradient.reshape(-1) for gradient in gradients.values()])


def _like_that(vector: Tensor, shapes: Gradients) -> Gradients:
    pieces = vector.split([gradient.numel() for gradient in shapes.values()])
    return {name: piece.view_as(gradient) for (name, gradient), piece in zip(shapes.items(), pieces, strict=True)}
