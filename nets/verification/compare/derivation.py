"""One derivation of a Jacobian with its tolerance, and whether several of them agree."""

from dataclasses import dataclass

import torch
from torch import Tensor

BACKWARD_ROUNDING = 1e-6
"""The rounding noise of a backward pass that is compared with a difference is capped at this part of the row's largest
entry: a coarse backward must not widen its own tolerance."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """∂Y/∂point by one derivation.

    Attributes:
        name: a `Method`, or the name of an engine of the caller's.
        jacobian: shape (M, P).
        tolerance: its largest error, broadcasting to (M, P).
        kink: where there is no derivative, since the slopes to the two sides differ, shape (M, P). Only differences
            show that; None for every other derivation.
        declared: the error that the caller allows, whatever it is compared with.
        nearby: of differences, the largest slope of the module nearby, if a row of the Jacobian is zero; 0 if not
            looked at.
    """

    name: str
    jacobian: Tensor
    tolerance: Tensor
    kink: Tensor | None = None
    declared: float = 0.0
    nearby: float = 0.0

    @property
    def by_differences(self) -> bool:
        """Whether it is a difference: only differences show kinks and have an error bar."""
        return self.kink is not None

    @property
    def has_kink(self) -> bool:
        return self.kink is not None and bool(self.kink.any())

    def zero_rows(self) -> Tensor:
        """The rows that are zero, to within the tolerance. Shape (M, 1)."""
        return (self.jacobian.abs() <= self.tolerance).all(1, keepdim=True)


def agree(one: Derivation, other: Derivation) -> bool:
    """Whether no entry of the two differs by more than their tolerance."""
    return not bool((excess(one.jacobian, other.jacobian, common_tolerance(one, other)) > 1).any())


def odd_one_out(derivations: list[Derivation]) -> Derivation | None:
    """The one derivation that disagrees with all others, if there are at least two others and they agree."""
    for suspect in derivations:
        others = [derivation for derivation in derivations if derivation is not suspect]
        united = all(agree(one, other) for i, one in enumerate(others) for other in others[i + 1 :])
        if len(others) > 1 and united and not any(agree(suspect, other) for other in others):
            return suspect
    return None


def common_tolerance(one: Derivation, other: Derivation) -> Tensor:
    """The largest difference between two derivations that rounding and truncation explain, or the caller declares."""
    allowed = max(one.declared, other.declared)
    explained = _explained(one, other)
    return explained.clamp(min=allowed) if allowed else explained


def _explained(one: Derivation, other: Derivation) -> Tensor:
    """The largest difference that rounding and truncation explain."""
    measured = [derivation for derivation in (one, other) if derivation.by_differences]
    tiny = torch.finfo(other.jacobian.dtype).tiny
    if len(measured) == 1:
        (difference,), exact = measured, other if measured[0] is one else one
        row = difference.jacobian.abs().amax(1, keepdim=True)
        if difference.nearby:
            # A row of zeros has no size of its own. The mean of equal numbers may have an error of a unit in the last
            # place.
            row = torch.where(difference.zero_rows(), row.clamp(min=difference.nearby), row)
        rounding = torch.minimum(exact.tolerance, BACKWARD_ROUNDING * row).clamp_(min=tiny)
        return torch.maximum(difference.tolerance, rounding)
    if one.tolerance is other.tolerance:
        return one.tolerance.clamp(min=tiny)
    return torch.maximum(one.tolerance, other.tolerance).clamp_(min=tiny)


def excess(actual: Tensor, expected: Tensor, tolerance: Tensor) -> Tensor:
    """|actual − expected| in units of the tolerance; infinite for an entry that is not a number."""
    tolerance = tolerance.clamp(min=torch.finfo(expected.dtype).tiny)
    return (actual - expected).abs_().div_(tolerance).nan_to_num_(nan=torch.inf)
