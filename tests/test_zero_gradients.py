"""A gradient that is zero at the point passes with its bound, and a false zero fails; the edge of a domain is named."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.records.reason import Reason
from tests.building import Written, normal

SYMMETRIC: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "x² at 0": (lambda m, x: x**2, (torch.zeros(3).double(),)),
    "variance of equal numbers": (lambda m, x: x.var(-1), (torch.full((2, 4), 0.1).double(),)),
    "sinc at 0": (lambda m, x: torch.sinc(x), (torch.zeros(2).double(),)),
    "a kernel at equal points": (lambda m, x, y: (-(x - y).square().sum(-1)).exp(), (torch.ones(2, 3).double(),) * 2),
    "a product with two zeros": (lambda m, x: x.prod(), (torch.tensor([0, 0, 3.0]).double(),)),
    "x² at 0, probed": (lambda m, x: x**2, (torch.zeros(6_000).double(),)),
}


@pytest.mark.parametrize("case", list(SYMMETRIC))
def test_a_gradient_of_zero_at_a_symmetric_point_passes_with_its_bound(case: str) -> None:
    function, inputs = SYMMETRIC[case]
    certificate = nets.verify(Written(function), *inputs)
    assert certificate.passed and Reason.ZERO_HERE in {check.reason for check in certificate.checks}, str(certificate)
    bounds = [check.bound for check in certificate.checks if check.bound is not None]
    assert bounds and all(0 < bound < 1e-12 for bound in bounds)
    assert all(check.detects is None for check in certificate.checks if check.bound is not None)
    again = nets.Certificate.from_json(certificate.to_json())
    assert again == certificate


def test_a_softmax_of_one_logit_is_constant() -> None:
    assert nets.verify(nn.Softmax(-1), normal(torch.Generator().manual_seed(0), 3, 1)).passed


class _Zero(torch.autograd.Function):
    """x² + a x, whose backward gives zero."""

    @staticmethod
    def forward(ctx: object, x: Tensor, slope: float) -> Tensor:
        return x**2 + slope * x

    @staticmethod
    def backward(ctx: object, v: Tensor) -> tuple[Tensor, None]:
        return torch.zeros_like(v), None


@pytest.mark.parametrize("size", [3, 6_000], ids=["every entry", "probed"])
@pytest.mark.parametrize("slope", [1e-3, 1e-6, 1e-9])
def test_a_zero_backward_fails_beside_a_slope_of_a_billionth(slope: float, size: int) -> None:
    assert nets.verify(Written(lambda m, x: _Zero.apply(x, slope)), torch.zeros(size).double()).verdict == "fail"


@pytest.mark.parametrize("slope", [1e-3, 1e-6, 1e-9, 1e-12])
def test_a_bound_is_never_below_the_slope(slope: float) -> None:
    """A constant of a thousand makes the differences less precise; the bound still holds."""
    certificate = nets.verify(Written(lambda m, x: 1_000 + _Zero.apply(x, slope)), torch.zeros(1).double())
    bounds = [check.bound for check in certificate.checks if check.bound is not None]
    assert certificate.verdict != "pass" or (bounds and min(bounds) >= slope), str(certificate)


def test_a_function_that_hardly_changes_is_inconclusive() -> None:
    certificate = nets.verify(Written(lambda m, x: 1 + 1e-12 * x**2), torch.zeros(1).double())
    assert all(check.bound is None for check in certificate.checks)


EDGES: dict[str, tuple[Callable[..., Tensor], Tensor, str]] = {
    "0 to the power 0": (
        lambda m, x: torch.zeros(2).double() ** x,
        torch.zeros(2).double(),
        r"Y\[0\] is inf where input\[0\] is -",
    ),
    "acos beside 1": (
        lambda m, x: x.acos(),
        torch.tensor([1 - 1e-14], dtype=torch.float64),
        r"Y\[0\] is nan where input\[0\] is 1 instead of",
    ),
}


@pytest.mark.parametrize("case", list(EDGES))
def test_the_edge_of_a_domain_is_inconclusive_and_named(case: str) -> None:
    function, x, words = EDGES[case]
    certificate = nets.verify(Written(function), x)
    assert certificate.verdict == "inconclusive"
    assert certificate.decisive.reason is Reason.EDGE_OF_THE_DOMAIN
    with pytest.raises(nets.GradientError, match=words):
        certificate.raise_if_failed()


def test_a_wrong_entry_beside_the_edge_of_a_domain_still_fails() -> None:
    class Acos(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)  # type: ignore[attr-defined]
            return x.acos()

        @staticmethod
        def backward(ctx: object, v: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
            return -v / (1 - x * x).sqrt() * torch.where(x < 0.9, 2.0, 1.0)

    certificate = nets.verify(Written(lambda m, x: Acos.apply(x)), torch.tensor([0.5, 1 - 1e-14], dtype=torch.float64))
    assert certificate.verdict == "fail" and "∂Y[0] / ∂input[0]" in certificate.sentence(), str(certificate)


def test_entries_at_a_kink_do_not_count_as_wrong() -> None:
    """max(x, 0) at 0 has no derivative; of the two entries of x² one is wrong."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return torch.where(torch.arange(3) < 2, x**2, (x + x.abs()) / 2)

        @staticmethod
        def backward(ctx: object, v: Tensor) -> Tensor:
            return v * torch.tensor([2.0, 5.0, 1.0]).double()

    certificate = nets.verify(Written(lambda m, x: Square.apply(x)), torch.tensor([1.0, 2.0, 0.0]).double())
    (check,) = [check for check in certificate.checks if check.against == "central difference"]
    assert (check.verdict, check.wrong) == ("fail", 1)
