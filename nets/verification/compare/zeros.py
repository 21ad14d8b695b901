"""Gradients that are zero: everywhere, or at a symmetric point such as x² at 0, although the output depends on the
point.

A relative error has no meaning there. Differences give an absolute bound: |∂Y_m/∂p| ≤ |D_m| + the tolerance of D_m. It
is accepted if it is far below the slopes of Y over a finite distance, since 1e-7 says nothing about a function that
hardly changes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from nets.errors import InputError
from nets.verification.derivations.slopes import DIFFERENCE_SAFETY
from nets.verification.derivations.variable import Variable
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

ZERO_BOUND = 1e-6
"""A gradient is called zero if its bound is at most this part of the module's own slopes nearby."""

NEARBY_DISTANCE = 1 / 8
"""How far each number of the point is moved to see these slopes."""

NOISY = 1e-6
"""If the noise of an output is above this part of the largest output, it is not rounding: the output jumps at this
point."""

NEARBY_DIRECTIONS = 4
"""Random directions in which the point is moved."""


def bound_of_zero(problem: Problem, name: str, jacobian: Tensor, tolerance: Tensor) -> float | None:
    """The absolute bound on every entry of ∂Y/∂p, from differences of shape (M, P) and their tolerance.

    None where the bound is not small beside the slopes of Y over a distance of an eighth.
    """
    slope = far_slope(problem, name)
    # At least the rounding error of the slopes, even where the differences happen to be exact.
    bound = max(float((jacobian.abs() + tolerance).max()), slope * 2.0**-52)
    return bound if 0 < bound <= ZERO_BOUND * slope else None


def far_slope(problem: Problem, name: str) -> float:
    """max_m |Y_m(p + s/8, q) − Y_m(p, q)| / (1/8) over some directions s of random signs, where the module can be
    called.

    The other points q are tried where they are, and an eighth from there: the gradient by the weight of a normalization
    is zero for equal inputs, whatever the weight is.
    """
    generator, largest = stream(problem.seed, "slopes far away", name), 0.0
    for others_too in (False, True):
        for before, after in _moves(problem, name, generator, others_too):
            largest = max(
                largest, float(((after - before).abs() / NEARBY_DISTANCE).nan_to_num(nan=0.0, posinf=0.0).max())
            )
    return largest


def is_constant(variable: Variable) -> bool:
    """Whether Y stays the same, up to its noise, when the point moves by an eighth in random directions.

    A gradient too small to be measured still changes Y over this distance; a gradient that is zero everywhere does not.
    False if the noise of Y is too large to see a change, here and where the other points have moved by an eighth.
    """
    problem, name, floor = variable.problem, variable.name, variable.floor
    generator = variable.stream("far moves")
    moves = list(_moves(problem, name, generator, others_too=False))
    if len(moves) < NEARBY_DIRECTIONS or any(
        ((after - before).abs() > DIFFERENCE_SAFETY * floor).any() for before, after in moves
    ):
        return False
    if all(torch.equal(before, after) for before, after in moves):
        return True
    rounded = (NOISY * problem.y.abs().max()).clamp(min=torch.finfo(floor.dtype).smallest_normal)
    if not (floor > rounded).any():
        return True
    # Y itself may be zero by symmetry, as a normalization of equal numbers is.
    nearby = [before.abs().max() for before, _ in _moves(problem, name, generator, others_too=True)]
    return bool(nearby) and not bool((floor > NOISY * max(nearby)).any())


def _moves(
    problem: Problem, name: str, generator: torch.Generator, others_too: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Y before and after the point moves by an eighth in random directions, where the module can be called there.

    Args:
        others_too: whether the other points are an eighth away, too, before and after.
    """
    with problem.put_back() as here:

        def move(point: str) -> None:
            sign = torch.randint(0, 2, here[point].shape, generator=generator).to(here[point].dtype) * 2 - 1
            problem.points[point].copy_(here[point] + NEARBY_DISTANCE * sign)

        for _ in range(NEARBY_DIRECTIONS):
            problem.points[name].copy_(here[name])
            try:
                for other in [n for n in here if n != name] if others_too else ():
                    move(other)
                before = problem.evaluate() if others_too else problem.y
                move(name)
                yield before, problem.evaluate()
            except InputError:  # the module is not defined there
                continue
