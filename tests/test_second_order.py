"""The gradient of the gradient."""

import pytest
import torch
from torch import Tensor, nn

import nets
from tests.cases import NETWORKS, Case


@pytest.mark.parametrize("case", [case for case in NETWORKS if sum(p.numel() for p in case.network.parameters()) < 60], ids=str)
def test_the_closed_form_is_right_at_second_order(case: Case) -> None:
    certificate = nets.verify(case.network, case.x, order=2)
    assert certificate.passed, str(certificate)
    assert [*dict.fromkeys(check.parameter for check in certificate.checks)] == [*dict(case.network.named_parameters()), "input"]


@pytest.mark.parametrize("module", [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), nn.LayerNorm(3), nn.GELU()])
def test_torch_modules_are_right_at_second_order(module: nn.Module) -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert nets.verify(module, x, order=2).passed


class Cubed(torch.autograd.Function):
    """x³, whose backward is right and whose own backward forgets that the slope depends on x."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x**3

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        return v * (3 * ctx.saved_tensors[0] ** 2).detach()  # type: ignore[attr-defined]


class Cube(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Cubed.apply(x)


def test_a_wrong_second_derivative_fails_though_the_first_is_right() -> None:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert nets.verify(Cube(), x).passed
    certificate = nets.verify(Cube(), x, order=2)
    assert certificate.verdict == "fail"
    # d²(v x³)/dx² = 6 v x, where the backward says 0.
    assert "reverse mode gives 0 where central difference gives" in certificate.sentence()


def test_many_entries_are_summed_at_random() -> None:
    module = nn.Sequential(nn.Linear(20, 20), nn.Tanh())
    certificate = nets.verify(module, torch.randn(2, 20, generator=torch.Generator().manual_seed(0)), order=2)
    assert certificate.passed
    assert certificate.checks[0].entries == 8 * 400


@pytest.mark.parametrize(
    "option",
    [
        {"coverage": "full"},
        {"dtype": "as is"},
        {"closed_form": lambda module, x: {}},
        {"intended": ("input",)},
        {"engines": {"none": lambda network, x: {}}},
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_the_second_order_does_not_use_is_refused(option: dict) -> None:
    with pytest.raises(nets.InputError, match=f"order=2 was given with {next(iter(option))}.*to a call with order=1"):
        nets.verify(nn.Tanh(), torch.ones(2, 2), order=2, **option)


def test_the_second_order_says_that_it_is_no_first() -> None:
    assert "taking the gradient itself for what it says it is" in str(nets.verify(nn.Tanh(), torch.ones(2, 2), order=2))
