"""Central differences stay within their own error bars, and the bars are narrow."""

import pytest
import torch
from torch import nn

from nets.verification.difference import best_step, central_difference, is_constant
from nets.verification.oracles import reverse_mode
from nets.verification.problem import Problem
from nets.verification.rounding import output_floor
from tests.cases import NETWORKS, Case


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_the_error_is_within_the_tolerance(case: Case) -> None:
    problem = Problem(case.network, case.x)
    floor = output_floor(problem, seed=0)
    for name in problem.points:
        # An eighth of the best step, where noise outweighs truncation.
        difference = central_difference(problem, name, floor, best_step(problem, name, floor, seed=0) / 8)
        error = (difference.jacobian - reverse_mode(problem, name)).abs()
        assert (error <= difference.tolerance).all()
        assert difference.tolerance.max() < 1e-9


class Wave(nn.Module):
    """Y = sin(ω X), whose length scale is 1/ω."""

    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.omega * x)


def test_the_step_follows_the_scale_of_the_function() -> None:
    steps = []
    for omega in (0.1, 1.0, 100.0):
        problem = Problem(Wave(omega), torch.linspace(0, 3 / omega, 9))
        steps.append(best_step(problem, "input", output_floor(problem, seed=0), seed=0))
    assert steps == sorted(steps, reverse=True) and steps[0] > steps[-1]


def test_constant_means_that_nothing_moves_the_output() -> None:
    class Invariant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(3))
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = x * self.scale + self.shift
            return z - z.mean(0)

    problem = Problem(Invariant(), torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    floor = output_floor(problem, seed=0)
    assert is_constant(problem, "shift", floor, seed=0)
    assert not is_constant(problem, "scale", floor, seed=0)
