"""The same backward pass run again: with other random numbers, or with what was saved for it kept from being written to."""

import torch
from torch import Tensor

from nets.verification.backward import pull_back
from nets.verification.leaves import largest
from nets.verification.problem import Problem
from nets.verification.randomness import SOURCES, seeded

APART = 1e-6
"""The part of the largest entry by which two gradients differ that are not the same up to rounding."""

Gradient = dict[str, Tensor]


def draws_again(problem: Problem) -> bool:
    """Whether the gradient follows the random numbers that are drawn while the backward pass runs: others with another seed, the
    same with the same."""
    first, other, same = (_gradient(problem, seed) for seed in (problem.seed, problem.seed + 1, problem.seed))
    return not _differ(first, same) and _differ(first, other)


def overwrites(problem: Problem) -> bool:
    """Whether a tensor that was saved for the backward pass is written to before it is read, and the gradient is another one, the
    same at each walk, where each such tensor is handed out as it was when it was saved."""
    written = False

    def keep(tensor: Tensor) -> tuple[Tensor, Tensor]:
        return tensor, tensor.detach().clone()

    def hand_out(kept: tuple[Tensor, Tensor]) -> Tensor:
        nonlocal written
        tensor, then = kept
        if torch.equal(tensor, then) or then.isnan().any():
            return tensor
        written = True
        # A copy for each that asks, since it may be what is written to.
        return then.clone()

    with torch.autograd.graph.saved_tensors_hooks(keep, hand_out):
        first, second = _walked_twice(problem)
    if not written or _differ(first, second):
        return False
    return any(_differ(first, plain) for plain in _walked_twice(problem))


def _walked_twice(problem: Problem) -> tuple[Gradient, Gradient]:
    y, leaves = problem.record()
    first = pull_back(y, problem.cotangent, leaves)
    return first, pull_back(y, problem.cotangent, leaves)


def _gradient(problem: Problem, seed: int) -> Gradient:
    y, leaves = problem.record()
    with seeded(tuple(SOURCES), seed):
        return pull_back(y, problem.cotangent, leaves)


def _differ(one: Gradient, other: Gradient) -> bool:
    return any(largest(one[name] - other[name]) > APART * largest(one[name]) for name in one)
