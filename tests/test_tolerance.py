"""A gradient that is meant to be approximate passes only within the tolerance that is declared for it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from tests.building import Written


class _Guarded(torch.autograd.Function):
    """∏ x, with a guard in the denominator of its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, guard: float) -> Tensor:
        p = x.prod(-1, keepdim=True)
        ctx.save_for_backward(x, p)
        ctx.guard = guard
        return p

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None]:
        x, p = ctx.saved_tensors
        return v * p / (x + ctx.guard), None


def _guarded(guard: float, rows: int) -> tuple[nn.Module, Tensor]:
    x = 1 + torch.rand(rows, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Written(lambda m, x: _Guarded.apply(x, guard)), x


@pytest.mark.parametrize("rows", [2, 2_000], ids=["every entry", "probed"])
def test_a_guard_passes_only_within_the_declared_tolerance(rows: int) -> None:
    """A guard of 1e-4 beside numbers between 1 and 2 moves an entry by 1e-4 of it at most."""
    module, x = _guarded(1e-4, rows)
    assert nets.verify(module, x).verdict == "fail"
    certificate = nets.verify(module, x, tolerance=1e-3)
    assert certificate.passed, str(certificate)
    assert "within the declared tolerance of 0.001 of the largest entry" in certificate.sentence()
    assert certificate.detects_entry is not None and certificate.detects_entry >= 1e-3
    strict = nets.verify(module, x, tolerance=1e-7)
    assert strict.verdict == "fail" and "The declared tolerance is 1e-07 of the largest entry." in strict.sentence()


def test_a_small_fault_comes_with_the_advice_to_declare_it() -> None:
    assert "declare that with tolerance=" in nets.verify(*_guarded(1e-9, 2)).sentence()


def test_a_tolerance_can_be_declared_at_second_order() -> None:
    module, x = nn.Tanh(), torch.ones(2, 2)
    assert "declared tolerance of 1e-06" in nets.verify(module, x, order=2, tolerance=1e-6).sentence()


def test_json_keeps_the_declared_tolerance() -> None:
    certificate = nets.verify(nn.Tanh(), torch.ones(2, 2), tolerance=1e-6)
    again = nets.Certificate.from_json(certificate.to_json())
    assert again.tolerance == 1e-6 and again.sentence() == certificate.sentence()


@pytest.mark.parametrize("tolerance", [0, -1e-6, 1, 2.0, float("nan"), float("inf"), "1e-6", True])
def test_a_tolerance_is_a_number_between_zero_and_one(tolerance: Any) -> None:
    with pytest.raises(nets.InputError, match=r"tolerance is .*; expected a number above 0 and below 1"):
        nets.verify(nn.Tanh(), torch.ones(2), tolerance=tolerance)
