"""Gradients that are zero at a symmetric point, such as that of x² at 0, although the output depends on the point.

No relative fault can be seen there. What differences give is an absolute bound, |∂Y_m/∂p| ≤ |D_m| + its tolerance. It counts where
it is far below the slopes that Y has over a finite distance: a bound of 1e-7 says nothing of a function that hardly moves.
"""

import torch
from torch import Tensor

from nets.errors import InputError
from nets.verification.problem import Problem
from nets.verification.randomness import stream

ZERO = 1e-6
"""A gradient is called zero where its bound is at most this part of the module's own slopes nearby."""

FAR = 1 / 8
"""How far each number of the point is moved to see these slopes."""

MOVES = 4
"""Random directions in which the point is moved for that."""


def bound_of_zero(problem: Problem, name: str, jacobian: Tensor, tolerance: Tensor, seed: int) -> float | None:
    """The absolute bound on every entry of ∂Y/∂p, from differences of shape (M, P) and their tolerance; None where the bound is not
    small beside the slopes of Y over a distance of an eighth."""
    slope = far_slope(problem, name, seed)
    # Never below the rounding of the slopes, even where the differences happen to be exact.
    bound = max(float((jacobian.abs() + tolerance).max()), slope * 2.0**-52)
    return bound if 0 < bound <= ZERO * slope else None


def far_slope(problem: Problem, name: str, seed: int) -> float:
    """max_m |Y_m(p + s/8) − Y_m(p)| / (1/8) over some directions s of random signs; of steps that stay in the domain."""
    point, generator = problem.points[name], stream(seed, "slopes far away", name)
    here, largest = point.clone(), 0.0
    try:
        for _ in range(MOVES):
            signs = torch.randint(0, 2, point.shape, generator=generator).to(point.dtype) * 2 - 1
            point.copy_(here + FAR * signs)
            try:
                moved = (problem.evaluate() - problem.y).abs() / FAR
            except InputError:  # it is not defined there
                continue
            largest = max(largest, float(moved.nan_to_num(nan=0.0, posinf=0.0).max()))
    finally:
        point.copy_(here)
    return largest
