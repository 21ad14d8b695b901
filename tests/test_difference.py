"""Central differences stay within their own error bars, the bars are narrow, and kinks are recognised."""

import math

import pytest
import torch
from torch import nn

from nets.verification.compare.zeros import is_constant
from nets.verification.derivations.differences import measure, measure_twice
from nets.verification.derivations.refinement import refine
from nets.verification.derivations.reverse_mode import reverse_mode
from nets.verification.derivations.variable import Variable
from nets.verification.noise.output_noise import output_floor
from nets.verification.problem.problem import Problem
from tests.cases import NETWORKS, Case

EACH = pytest.mark.parametrize("case", NETWORKS, ids=str)


class Elementwise(nn.Module):
    """Y = f(X)."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)  # type: ignore[operator]


def variable_of(problem: Problem) -> Variable:
    return Variable(problem, "input", output_floor(problem, seed=0))


@EACH
def test_the_error_of_four_evaluations_is_within_the_tolerance(case: Case) -> None:
    problem = Problem(case.network, (case.x,))
    floor, truth = output_floor(problem, seed=0), reverse_mode(problem)
    for name in problem.points:
        measured = measure_twice(Variable(problem, name, floor), 2.0**-13)
        assert ((measured.jacobian - truth[name]).abs() <= measured.tolerance).all()
        assert measured.tolerance.max() < 1e-9


@EACH
def test_the_error_of_two_evaluations_is_small(case: Case) -> None:
    """The truncation of a few entries bounds all, so a rare entry may exceed it; `refine` measures such an entry."""
    problem = Problem(case.network, (case.x,))
    floor, truth = output_floor(problem, seed=0), reverse_mode(problem)
    for name in problem.points:
        measured = measure(Variable(problem, name, floor))
        error = (measured.jacobian - truth[name]).abs()
        assert (error <= 10 * measured.tolerance).all() and (error <= measured.tolerance).double().mean() > 0.9
        assert measured.tolerance.max() < 1e-7


@EACH
def test_a_refined_column_is_within_its_tolerance(case: Case) -> None:
    problem = Problem(case.network, (case.x,))
    floor, truth = output_floor(problem, seed=0), reverse_mode(problem)
    for name, point in problem.points.items():
        for entry in range(0, point.numel(), 3):
            column = refine(Variable(problem, name, floor), entry)
            assert ((column.derivative - truth[name][:, entry]).abs() <= column.tolerance).all()
            assert column.tolerance.max() < 1e-10 and not column.kink.any()


def test_measuring_leaves_the_point_where_it_was() -> None:
    problem = Problem(NETWORKS[2].network, (NETWORKS[2].x,))
    before = {name: point.clone() for name, point in problem.points.items()}
    floor = output_floor(problem, seed=0)
    for name in problem.points:
        measure(Variable(problem, name, floor))
        refine(Variable(problem, name, floor), 0)
        is_constant(Variable(problem, name, floor))
    assert all(torch.equal(before[name], point) for name, point in problem.points.items())


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_the_step_follows_the_scale_of_the_function(size: float) -> None:
    """Y = sin(X/s) at X of size s has slopes of 1/s, and noise u: six digits at least are left at every scale."""
    problem = Problem(
        Elementwise(lambda x: torch.sin(x / size)), (torch.linspace(0.1, 3, 7, dtype=torch.float64) * size,)
    )
    measured = measure(variable_of(problem))
    expected = torch.diag(torch.cos(problem.points["input"] / size) / size)
    assert ((measured.jacobian - expected).abs() <= measured.tolerance).all()
    assert measured.tolerance.max() < 1e-6 / size


@pytest.mark.parametrize(
    ("function", "kinks"),
    [
        (torch.relu, [False, True, False]),
        (torch.abs, [False, True, False]),
        (lambda x: x**2 * torch.sign(x), [False, False, False]),
        (lambda x: torch.clamp(x, max=1.0), [False, False, True]),
        (torch.tanh, [False, False, False]),
    ],
)
def test_a_kink_is_where_the_slopes_to_both_sides_differ(function: object, kinks: list[bool]) -> None:
    """At X = −1, 0, 1; x|x| is smooth at 0, though its second derivative jumps there."""
    problem = Problem(Elementwise(function), (torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64),))
    variable = variable_of(problem)
    assert [bool(refine(variable, entry).kink[entry]) for entry in range(3)] == kinks


def test_a_kink_beside_the_point_does_not_spoil_the_derivative() -> None:
    problem = Problem(Elementwise(torch.relu), (torch.tensor([1e-5, -1e-5], dtype=torch.float64),))
    columns = [refine(variable_of(problem), entry) for entry in (0, 1)]
    assert columns[0].derivative.tolist() == pytest.approx([1, 0], abs=1e-8)
    assert columns[1].derivative.tolist() == pytest.approx([0, 0], abs=1e-8)


def test_a_step_out_of_the_domain_is_not_taken() -> None:
    """√X at X = 1e-6 is not a number from h = 1e-6 on."""
    problem = Problem(Elementwise(torch.sqrt), (torch.tensor([1e-6], dtype=torch.float64),))
    column = refine(variable_of(problem), 0)
    assert column.derivative.item() == pytest.approx(0.5 / math.sqrt(1e-6), rel=1e-8)


def test_the_central_difference_of_a_parabola_is_exact() -> None:
    problem = Problem(Elementwise(torch.square), (torch.tensor([3.0], dtype=torch.float64),))
    assert variable_of(problem).slopes(0, 0.5).central.item() == 6


def test_a_constant_output_does_not_move() -> None:
    class Invariant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(3))
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = x * self.scale + self.shift
            return z - z.mean(0)

    problem = Problem(Invariant(), (torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),))
    floor = output_floor(problem, seed=0)
    assert is_constant(Variable(problem, "shift", floor))
    assert not is_constant(Variable(problem, "scale", floor))
