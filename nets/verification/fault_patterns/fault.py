"""A wrong Jacobian, and what is known about each of its entries."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nets.verification.problem.problem import Problem

ALIKE = 1e-6
"""Two Jacobians are alike if they differ by less than this part of the larger one; a pattern is then no coincidence."""

LARGE, FAR = 1e-3, 100.0
"""A fault stands out if half of the wrong entries have an error of this part of the entry, or of so many tolerances."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A wrong Jacobian.

    Attributes:
        problem: the function.
        name: which of its points.
        actual: the wrong Jacobian, shape (M, P).
        expected: the right one.
        wrong: whether they differ by more than rounding and truncation explain, shape (M, P).
        tolerance: the difference that these explain, shape (M, P).
    """

    problem: Problem
    name: str
    actual: Tensor
    expected: Tensor
    wrong: Tensor
    tolerance: Tensor

    @property
    def shape(self) -> torch.Size:
        """The shape of the point; a complex number is two real ones in a last axis."""
        return self.problem.points[self.name].shape

    def like(self, other: Tensor) -> bool:
        """Whether the wrong Jacobian is this one, to a millionth of the largest entry or within the tolerance."""
        slack = ALIKE * torch.maximum(self.actual.abs().max(), other.abs().max())
        return bool(((self.actual - other).abs() <= self.tolerance.clamp(min=float(slack))).all())

    def right(self) -> Tensor:
        """The entries that are known to be right: a fault of the usual size would have been seen. Shape (M, P)."""
        return ~self.wrong & (self._visible() > self.tolerance)

    def stands_out(self) -> bool:
        """Whether the error of the wrong entries is a large part of the entry, or many times the tolerance.

        Only then are the other entries known to be right: a fault in all entries that is hardly larger than the
        tolerance is seen in a few of them only.
        """
        errors = (self.actual - self.expected).abs()[self.wrong]
        parts = errors / self.expected.abs()[self.wrong]
        units = errors / self.tolerance.expand_as(self.expected)[self.wrong].clamp(
            min=torch.finfo(self.expected.dtype).tiny
        )
        return any(float(x.nan_to_num(nan=torch.inf).median()) > bar for x, bar in ((parts, LARGE), (units, FAR)))

    def unknown(self) -> Tensor:
        """The nonzero entries in which a fault of the usual size is below the tolerance. Shape (M, P)."""
        return ~self.wrong & (self._visible() <= self.tolerance) & (self.expected.abs() > self.tolerance)

    def _visible(self) -> Tensor:
        """The error of each entry if its fault had the usual relative size, the median over the wrong entries."""
        expected = self.expected[self.wrong].abs()
        parts = (self.actual[self.wrong] - self.expected[self.wrong]).abs() / expected
        return self.expected.abs() * min(1.0, float(parts.nan_to_num(nan=1.0).median()))
