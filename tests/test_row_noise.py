"""Each row of a Jacobian has its own noise: neither another output nor a large row sets its tolerance."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.verification.derivations.reverse_mode import reverse_mode
from nets.verification.noise.row_noise import SHARED_NOISE, gradient_floor
from nets.verification.problem.problem import Problem
from tests.building import Written
from tests.in_matrix import first_in_test

UNIT = torch.finfo(torch.float64).eps / 2


def _randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class _Read(torch.autograd.Function):
    """X → X with a backward that reads a number, which stops batching."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Tensor:
        return v if float(v.sum()) < 1e300 else v  # noqa: RUF034  (a value that is read cannot be batched)


def _cancelling(x: Tensor) -> Tensor:
    """sin X, whose derivative (10⁶ + cos X) − 10⁶ is known to 10⁶ units of rounding."""
    return 1e6 * x + x.sin() - 1e6 * x


def test_every_output_tensor_is_measured_whether_or_not_the_backward_can_be_batched() -> None:
    """The second output, of 300 numbers, has a noise of 10⁶ u; the first, of 4, has one of about u."""
    for batched in (True, False):
        first = Written(lambda m, x, b=batched: (x[:4].sin(), _cancelling(x if b else _Read.apply(x))))
        last = Written(lambda m, x, b=batched: (_cancelling(x if b else _Read.apply(x)), x[:4].sin()))
        x = _randn(300)
        for module, exact, noisy in ((first, slice(4), slice(4, None)), (last, slice(300, None), slice(300))):
            problem = Problem(module, (x,))
            floor = gradient_floor(problem, reverse_mode(problem), seed=0)["input"]
            assert floor.shape == (304, 1)
            assert float(floor[exact].max()) < 20 * UNIT
            assert float(floor[noisy].min()) > 0.2e6 * UNIT and float(floor[noisy].max()) < 20e6 * UNIT


@pytest.mark.parametrize("batched", [True, False])
def test_the_noise_of_a_row_scales_with_that_row(batched: bool) -> None:
    """Rows from 1 to 1e-12: none is given more than a 32-millionth of its own size by the others."""
    size = torch.logspace(0, -12, 200, dtype=torch.float64)
    module = Written(lambda m, x: size * ((x if batched else _Read.apply(x)) @ m.weight).exp(), weight=_randn(3, 200))
    problem = Problem(module, (_randn(3),))
    jacobians = reverse_mode(problem)
    for name, floor in gradient_floor(problem, jacobians, seed=0).items():
        row = jacobians[name].abs().amax(1, keepdim=True)
        assert bool((floor >= 4 * UNIT * row).all()) and bool((floor <= SHARED_NOISE * row).all())


class _Rows(torch.autograd.Function):
    """X ⊙ S for sizes S of the rows, whose gradient for one row is off by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(size * factor)
        return x * size

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None]:
        return v * ctx.saved_tensors[0], None, None


@pytest.mark.parametrize("faint", [1e-6, 1e-9])
@pytest.mark.parametrize("factor", [1.01, 0.99, 1.0])
def test_one_per_cent_of_a_faint_row_is_seen(faint: float, factor: float) -> None:
    """Rows of size 1, and one row that is a million or a billion times smaller, whose gradient is off by 1 %."""
    size, factors = torch.ones(6, 1, dtype=torch.float64), torch.ones(6, 1, dtype=torch.float64)
    size[4], factors[4] = faint, factor
    module = Written(lambda m, x: _Rows.apply((x @ m.weight).tanh(), size, factors), weight=_randn(3, 2))
    certificate = nets.verify(module, _randn(6, 3))
    assert certificate.verdict == ("pass" if factor == 1 else "fail"), str(certificate)
    for check in certificate.checks:
        if check.verdict == "fail":
            # Sample 4, and in the derivative by the input also its row of X.
            assert check.worst_index is not None and check.worst_index[0] == 4
            assert check.actual == pytest.approx(factor * check.expected, rel=1e-6)


@pytest.mark.parametrize("seed", first_in_test(range(12), 4))
def test_a_head_through_a_normalization_passes(seed: int) -> None:
    """Two outputs. The second goes through BatchNorm, where the gradients cancel."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body, head = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1))
        x = torch.randn(8, 3)
    module = Written(lambda m, x: (m.body(x).tanh(), m.head(m.body(x).tanh())))
    module.body, module.head = body, head
    certificate = nets.verify(module, x, seed=seed)
    assert certificate.passed, str(certificate)
