"""The same backward pass run again, with other random numbers."""

from torch import Tensor

from nets.verification.problem.graph import pull_back
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import SOURCES, seeded

APART = 1e-6
"""The part of the largest entry by which two gradients differ that are not the same up to rounding."""

Gradient = dict[str, Tensor]


def draws_again(problem: Problem) -> bool:
    """Whether the gradient follows the random numbers that are drawn while the backward pass runs: others with another seed, the
    same with the same."""
    first, other, same = (_gradient(problem, seed) for seed in (problem.seed, problem.seed + 1, problem.seed))
    return not _differ(first, same) and _differ(first, other)


def _gradient(problem: Problem, seed: int) -> Gradient:
    y, leaves = problem.record()
    with seeded(tuple(SOURCES), seed):
        return pull_back(y, problem.cotangent, leaves)


def _differ(one: Gradient, other: Gradient) -> bool:
    return any(largest(one[name] - other[name]) > APART * largest(one[name]) for name in one)
