"""Stochastic rounding measures the noise of rounding."""

import torch
from torch import nn

from nets.verification.noise.output_noise import output_floor
from nets.verification.noise.rounding import StochasticRounding
from nets.verification.problem.problem import Problem

UNIT = torch.finfo(torch.float64).eps / 2


def test_one_operation_is_off_by_one_unit() -> None:
    x = torch.linspace(1, 2, 1000, dtype=torch.float64)
    with StochasticRounding(torch.Generator().manual_seed(0)):
        y = x * 3
    error = ((y - x * 3) / (x * 3)).abs()
    assert error.max() <= 3 * UNIT and torch.equal(error > 0, y != y.round())
    assert int((error == 0).sum()) == 4  # 3, 4, 5 and 6, which may be counts and stay exact


def test_a_cancellation_shows_in_the_noise() -> None:
    """(X + 1e8) − 1e8 keeps eight digits: its noise is that of 1e8, u · 1e8 = 1.1e-8, not that of X."""

    class Cancels(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1e8) - 1e8

    floor = output_floor(Problem(Cancels(), (torch.ones(1, 20),)), seed=0)
    assert 0.5e-8 < floor.max() < 5e-8


def test_infinite_numbers_stay_infinite() -> None:
    """A mask of −∞ before a softmax leaves noise in the unmasked numbers, and no NaN."""
    x = torch.linspace(0.1, 1, 64, dtype=torch.float64).view(8, 8)
    mask = torch.ones(8, 8, dtype=torch.bool).triu(1)
    with StochasticRounding(torch.Generator().manual_seed(0)):
        y = x.masked_fill(mask, -torch.inf).softmax(-1)
    assert torch.isfinite(y).all() and (y[mask] == 0).all()
    assert 0 < (y - x.masked_fill(mask, -torch.inf).softmax(-1)).abs().max() < 16 * UNIT


def test_a_maximum_is_exact() -> None:
    """The backward of a maximum looks for the number that the forward returned."""
    x = torch.linspace(0.1, 1, 64, dtype=torch.float64).view(8, 8).requires_grad_()
    with StochasticRounding(torch.Generator().manual_seed(0)):
        found = [
            torch.autograd.grad(choose(x).sum(), x)[0]
            for choose in (lambda x: x.amax(-1), lambda x: x.norm(torch.inf, -1))
        ]
    for gradient in found:
        assert torch.equal(gradient != 0, x == x.amax(-1, keepdim=True))


def test_views_and_integers_are_exact() -> None:
    x = torch.ones(4, dtype=torch.float64)
    with StochasticRounding(torch.Generator().manual_seed(0)):
        view = x.view(2, 2)
        view[0, 0] = 5.0
        count = torch.arange(3) + 1
    assert x[0] == 5 and count.tolist() == [1, 2, 3]
