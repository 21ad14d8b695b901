"""The backward pass run again with other random numbers."""

from torch import Tensor

from nets.verification.problem.graph import pull_back
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import SOURCES, seeded

DIFFERENT = 1e-6
"""Two gradients are different if they differ by more than this part of the largest entry."""

Gradient = dict[str, Tensor]


def draws_again(problem: Problem) -> bool:
    """Whether the gradient depends on random numbers that the backward pass draws: it follows the seed of that pass."""
    # Twice with the same seed first: a backward that alternates between two results does not draw anything.
    first, same, other = (_gradient(problem, seed) for seed in (problem.seed, problem.seed, problem.seed + 1))
    return not _differ(first, same) and _differ(first, other)


def _gradient(problem: Problem, seed: int) -> Gradient:
    y, leaves = problem.record()
    with seeded(tuple(SOURCES), seed):
        return pull_back(y, problem.cotangent, leaves)


def _differ(one: Gradient, other: Gradient) -> bool:
    return any(largest(one[name] - other[name]) > DIFFERENT * largest(one[name]) for name in one)
