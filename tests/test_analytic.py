"""A complex step counts only if every operation is analytic in the number that moves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import nets
from nets.verification.derivations.complex_step import complex_step
from nets.verification.derivations.reverse_mode import reverse_mode
from nets.verification.problem.problem import Problem
from tests.building import Written
from tests.wrong.modules import ByHand

ANALYTIC: dict[str, Callable[[Tensor], Tensor]] = {
    "a polynomial": lambda x: x**3 - 2 * x * x,
    "exp, sin and tanh": lambda x: x.exp() * x.sin() + x.tanh(),
    "a product and a sum": lambda x: (x @ x.T).sum(0) + x.prod(),
    "an inverse": lambda x: torch.linalg.inv(x @ x.T + torch.eye(3, dtype=x.dtype)),
    "a determinant": lambda x: torch.linalg.det(x @ x.T + torch.eye(3, dtype=x.dtype)),
    "an absolute value of what does not move": lambda x: x * torch.ones(3, dtype=x.dtype).abs(),
    "a check that nothing is NaN": lambda x: x.square() if not bool(x.isnan().any()) else x,
}

NOT_ANALYTIC: dict[str, Callable[[Tensor], Tensor]] = {
    "|x|": torch.abs,
    "x |x|": lambda x: x * x.abs(),
    "conj x": lambda x: x.conj() * x,
    "Re x": lambda x: torch.complex(x.real, torch.zeros_like(x.real)) if x.is_complex() else x,
    "the sign": lambda x: x.sgn() * x,
    "the angle": lambda x: x.angle() * x,
    "a norm": lambda x: x / torch.linalg.vector_norm(x),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "a variance": lambda x: x * x.var(),
    "a standard deviation": lambda x: x / x.std(0),
    "a comparison": lambda x: torch.where(x == 0, x, x.square()),
    "a conversion to real numbers": lambda x: x * x.to(torch.float64),
    "a scalar product that conjugates": lambda x: x * torch.vdot(x[0], x[1]),
    "a Cholesky factor": lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(3, dtype=x.dtype)),
    "a QR factor": lambda x: torch.linalg.qr(x)[0],
    "NumPy": lambda x: x * complex(x[0, 0].item()).real,
}


def _problem(formula: Callable[[Tensor], Tensor]) -> Problem:
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Problem(Written(lambda m, x: formula(x)), (x,))


@pytest.mark.parametrize("case", list(ANALYTIC))
def test_an_analytic_function_has_a_complex_step_that_is_its_derivative(case: str) -> None:
    problem = _problem(ANALYTIC[case])
    found, expected = complex_step(problem, "input"), reverse_mode(problem)["input"]
    assert found is not None
    assert float((found - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@pytest.mark.parametrize("case", list(NOT_ANALYTIC))
def test_an_operation_that_is_not_analytic_has_no_complex_step(case: str) -> None:
    assert complex_step(_problem(NOT_ANALYTIC[case]), "input") is None


ROWS = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, -1.0], [0.5, -0.3, 0.2]], dtype=torch.float64)
"""A batch with a padding row, at which the derivative of `normalize` is 10¹²."""


def test_a_row_of_zeros_does_not_make_other_derivations_wrong() -> None:
    certificate = nets.verify(Written(lambda m, x: F.normalize(x, dim=-1)), ROWS)
    assert certificate.verdict != "fail", str(certificate)


def _normalized(factor: float) -> Any:
    """normalize with its right rule, but for a factor in the gradient of the second sample."""

    def rule(g: Tensor, x: Tensor) -> Tensor:
        size = x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        y = x / size
        inside = (x.norm(dim=-1, keepdim=True) > 1e-12).double()
        return (g - inside * y * (g * y).sum(-1, keepdim=True)) / size * torch.tensor([[1.0], [factor], [1.0]]).double()

    return ByHand(lambda x: F.normalize(x, dim=-1), rule)


@pytest.mark.parametrize("factor", [1.0, 1.01, 0.99, 0.0, -1.0])
def test_beside_a_row_of_zeros_a_fault_of_one_per_cent_is_seen(factor: float) -> None:
    certificate = nets.verify(_normalized(factor), ROWS)
    failed = [check for check in certificate.checks if check.verdict == "fail"]
    assert bool(failed) == (factor != 1), str(certificate)
    assert all(check.worst_index is not None and check.worst_index[0] == 1 for check in failed)
    assert all(check.against != "complex step" for check in certificate.checks)
