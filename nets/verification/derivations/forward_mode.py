"""Forward mode: dual numbers p + ε t through the module, without a backward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jvp

from nets.verification.attempt import Available, attempt
from nets.verification.derivations.columns import batched_columns, directional, single_columns
from nets.verification.problem.problem import Problem

EVERY_COLUMN = 4_096
"""The most numbers in a point for which forward mode runs along each of them. Beyond, it runs along random
directions."""


def forward_mode(problem: Problem, name: str) -> Tensor | None:
    """∂Y/∂p, shape (M, P), along each entry of the point, batched where that works.

    None where the module has no forward mode, and for a point of more than EVERY_COLUMN numbers: see `forward_along`.
    """
    point = problem.points[name]
    if point.numel() > EVERY_COLUMN or not problem.reached(name):
        return None
    dual = _Dual(problem, name)
    batched = None if problem.random else batched_columns(point, dual.batchable)
    return single_columns(point, dual.along) if batched is None else batched


def forward_along(problem: Problem, name: str, directions: Tensor) -> Tensor | None:
    """∂Y/∂t for T directions, shape (T, *point.shape); of shape (M, T). None where the module has no forward mode."""
    return directional(_Dual(problem, name).along, directions) if problem.reached(name) else None


def forward_together(problem: Problem, directions: dict[str, Tensor]) -> Tensor | None:
    """∂Y/∂t, shape (M,), with all points moved at once, each along its own direction; None where there is no forward
    mode."""

    def tangent() -> Tensor:
        with forward_ad.dual_level():
            moved = {
                n: forward_ad.make_dual(problem.points[n], t.view_as(problem.points[n])) for n, t in directions.items()
            }
            found = forward_ad.unpack_dual(problem({**problem.points, **moved})).tangent
        return torch.zeros_like(problem.y) if found is None else found

    with torch.no_grad():
        return attempt(tangent).or_none()


@dataclass(frozen=True, slots=True)
class Absence:
    """Why a point has no forward mode along each entry.

    Attributes:
        why: in words.
        missing_rule: whether an operation has no rule for forward mode; else the point cannot be replaced by a dual
            number.
    """

    why: str
    missing_rule: bool


def why_no_forward_mode(problem: Problem, name: str) -> Absence:
    """Why `forward_mode` and `forward_along` give nothing for a point."""
    if not problem.reached(name):
        return Absence(
            f"{name} cannot be replaced by a dual number, since the module also reads it from elsewhere", False
        )
    with torch.no_grad():
        found = attempt(lambda: _Dual(problem, name).along(torch.ones_like(problem.points[name])))
    if isinstance(found, Available):
        return Absence("forward mode works along a direction and not along each entry", False)
    return Absence(found.why, True)


@dataclass(frozen=True, slots=True)
class _Dual:
    """t → ∂Y/∂t by dual numbers in one point."""

    problem: Problem
    name: str

    def batchable(self, t: Tensor) -> Tensor:
        """By `torch.func`, which vmap can batch."""
        return jvp(lambda p: self.problem.along(self.name, p), (self.problem.points[self.name],), (t,))[1]

    def along(self, t: Tensor) -> Tensor:
        """By autograd's own dual numbers, which need fewer rules."""
        with forward_ad.dual_level():
            moved = self.problem.along(self.name, forward_ad.make_dual(self.problem.points[self.name], t))
            tangent = forward_ad.unpack_dual(moved).tangent
        return torch.zeros_like(self.problem.y) if tangent is None else tangent
