"""One point of a problem as the variable that differences move."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nets.verification.derivations.slopes import Slopes, slopes_along
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream


@dataclass(frozen=True, slots=True)
class Variable:
    """A parameter or an input, flattened to P numbers.

    Attributes:
        problem: the function.
        name: the point that is moved.
        floor: ε, the noise of each output, shape (M,).
    """

    problem: Problem
    name: str
    floor: Tensor

    @property
    def values(self) -> Tensor:
        """The P numbers, in the memory that the module reads: writing to them moves the function."""
        return self.problem.points[self.name].view(-1)

    def size(self, entry: int) -> float:
        """|p| of one number."""
        return abs(float(self.values[entry]))

    def slopes(self, entry: int, step: float) -> Slopes:
        """The slopes along one number."""
        return slopes_along(self.problem, self.values[entry], step)

    def stream(self, purpose: str) -> torch.Generator:
        """Random numbers for one purpose, the same in each run."""
        return stream(self.problem.seed, purpose, self.name)
