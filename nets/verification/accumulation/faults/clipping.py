"""Whether a loop clipped its gradient at each micro-batch, and not once at the end."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nets.records.loop_reason import LoopReason
from nets.records.reason import Finding
from nets.verification.accumulation.window.weights import Gradients, flat

EPS = 1e-6
"""The number that clip_grad_norm_ adds to the norm before it divides by it."""

ITERATIONS = 8
"""Iterations in which the bound is computed from the norm of the clipped gradient."""

Guess = tuple[float, Tensor]
"""A bound, and the gradient that clipping with it leaves."""


def clipped_each_time(
    found: Gradients, parts: list[Gradients], weights: Sequence[float], matches: Callable[[Gradients], bool]
) -> Finding | None:
    """How the loop clipped at each micro-batch; None where it did not.

    Args:
        found: what the loop left.
        parts: G_m.
        weights: w_m; means of means and plain sums are tried as well.
        matches: whether a gradient is what the loop left.
    """
    counted = [m for m, part in enumerate(parts) if any(gradient.any() for gradient in part.values())]
    if len(counted) < 2:
        return None
    left, vectors = flat(found), [flat(parts[m]) for m in counted]
    for scales in ([weights[m] for m in counted], [1 / len(counted)] * len(counted), [1.0] * len(counted)):
        terms = [scale * vector for scale, vector in zip(scales, vectors, strict=True)]
        for bound, guess in (*_clipped_sums(left, terms), *_clipped_terms(left, terms)):
            if matches(_unflatten(guess, found)):
                return LoopReason.CLIPPED_EACH_TIME.because(bound=f"a norm of {bound:.3g}")
        bound, guess = _clipped_values(left, terms)
        if matches(_unflatten(guess, found)):
            return LoopReason.CLIPPED_EACH_TIME.because(bound=f"values up to {bound:.3g}")
    return None


def _clipped_sums(left: Tensor, terms: list[Tensor]) -> list[Guess]:
    """A_m = clip(A_{m−1} + T_m): `.grad` is clipped after each backward pass. The bound is the norm of `.grad` after
    the last micro-batch that was clipped."""
    guesses = []
    for last in range(len(terms), 0, -1):
        after = sum(terms[last:], torch.zeros_like(left))
        bound = wanted = float((left - after).norm())
        for _ in range(ITERATIONS):
            total = torch.zeros_like(left)
            for term in terms[:last]:
                total = _clip(total + term, bound)
            size = float(total.norm())
            bound *= wanted / size if size else 1.0
        guesses.append((bound, total + after))
    return guesses


def _clipped_terms(left: Tensor, terms: list[Tensor]) -> list[Guess]:
    """Σ_m clip(T_m): the gradient of each micro-batch is clipped, which changes those with the largest norms."""
    order, guesses = sorted(terms, key=lambda term: -float(term.norm())), []
    for count in range(1, len(order) + 1):
        direction = sum((term / (term.norm() + EPS) for term in order[:count]), torch.zeros_like(left))
        rest = sum(order[count:], torch.zeros_like(left))
        square = float(direction @ direction)
        bound = float((left - rest) @ direction) / square if square else 0.0
        guesses.append((bound, sum((_clip(term, bound) for term in order), torch.zeros_like(left))))
    return guesses


def _clipped_values(left: Tensor, terms: list[Tensor]) -> Guess:
    """`.grad` is clipped entry by entry after each backward pass. The bound is its largest entry."""
    bound, total = float(left.abs().max()), torch.zeros_like(left)
    for term in terms:
        total = (total + term).clamp(-bound, bound)
    return bound, total


def _clip(vector: Tensor, bound: float) -> Tensor:
    return vector * min(1.0, bound / (float(vector.norm()) + EPS))


def _unflatten(vector: Tensor, shapes: Gradients) -> Gradients:
    pieces = vector.split([gradient.numel() for gradient in shapes.values()])
    return {name: piece.view_as(gradient) for (name, gradient), piece in zip(shapes.items(), pieces, strict=True)}
