"""A wrong gradient, and everything that is known about it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from nets.verification.accumulation.window.weights import Gradients, Weights, flat
from nets.verification.accumulation.window.whole_batch import WholeBatch
from nets.verification.accumulation.window.window import Closure, Window

MATCH = 1e-7
"""Two gradients match if they differ by less than this part of the largest entry."""

MOST_FITTED = 64
"""Up to this many micro-batches, the coefficient of each is computed."""

ZERO_COEFFICIENT = 1e-9
"""A coefficient below this part of the largest is zero up to rounding."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A gradient that is wrong.

    Attributes:
        found: what the loop left.
        truth: the gradient of the whole batch.
        parts: G_m, the gradient of each micro-batch alone; empty if it is not known.
        weights: w_m, with which the parts make the whole.
        tolerance: the error that rounding explains, for each parameter.
        whole_batch: the loss over all micro-batches.
        loop: what left the gradient.
    """

    found: Gradients
    truth: Gradients
    parts: list[Gradients]
    weights: Weights
    tolerance: dict[str, float]
    whole_batch: WholeBatch
    loop: Closure

    @property
    def window(self) -> Window:
        return self.whole_batch.window

    @property
    def finite(self) -> bool:
        """Whether the gradient that the loop left is finite."""
        return all(bool(torch.isfinite(gradient).all()) for gradient in self.found.values())

    def matches(self, other: Gradients) -> bool:
        """Whether this is the gradient that the loop left."""
        for name, gradient in self.found.items():
            slack = MATCH * max(float(gradient.abs().max()), float(other[name].abs().max()))
            if not bool(((gradient - other[name]).abs() <= max(slack, self.tolerance[name])).all()):
                return False
        return True


def fitted_coefficients(found: Gradients, parts: list[Gradients]) -> list[float] | None:
    """The coefficients c_m with Σ_m c_m G_m nearest to a gradient, 0 where G_m is zero; None where they are not
    unique."""
    matrix = torch.stack([flat(part) for part in parts], 1)
    counted = [m for m, part in enumerate(matrix.T) if part.any()]
    if not counted or len(parts) > MOST_FITTED or int(torch.linalg.matrix_rank(matrix[:, counted])) < len(counted):
        return None
    solution = torch.linalg.lstsq(matrix[:, counted], flat(found)[:, None], driver="gelsd").solution[:, 0].tolist()
    coefficients = [0.0] * len(parts)
    for m, value in zip(counted, solution, strict=True):
        coefficients[m] = value if abs(value) > ZERO_COEFFICIENT * max(map(abs, solution)) else 0.0
    return coefficients


def coefficients_text(coefficients: Iterable[float]) -> str:
    """The first six coefficients with four digits."""
    values = list(coefficients)
    largest = max(map(abs, values), default=0.0)
    shown = [f"{c if abs(c) > ZERO_COEFFICIENT * largest else 0.0:.4g}" for c in values[:6]]
    return ", ".join(shown) + (", …" if len(values) > 6 else "")
