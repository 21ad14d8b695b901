"""The backward pass run again with other random numbers."""

from torch import Tensor

from nets.verification.problem.graph import pull_back
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import differ
from nets.verification.problem.randomness import SOURCES, seeded

DIFFERENT = 1e-6
"""Two gradients are different if they differ by more than this part of the largest entry."""

Gradient = dict[str, Tensor]


def draws_again(problem: Problem) -> bool:
    """Whether the gradient depends on random numbers that the backward pass draws: it follows the seed of that pass."""
    # Twice with the same seed first: a backward that alternates between two results does not draw anything.
    first, same, other = (_gradient(problem, seed) for seed in (problem.seed, problem.seed, problem.seed + 1))
    return not _any_differ(same, first) and _any_differ(other, first)


def _gradient(problem: Problem, seed: int) -> Gradient:
    y, leaves = problem.record()
    with seeded(tuple(SOURCES), seed):
        return pull_back(y, problem.cotangent, leaves)


def _any_differ(found: Gradient, expected: Gradient) -> bool:
    return any(differ(found[name], expected[name], DIFFERENT) for name in expected)
