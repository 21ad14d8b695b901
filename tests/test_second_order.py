"""The gradient of the gradient."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from tests.building import Written
from tests.cases import NETWORKS, Case


@pytest.mark.parametrize(
    "case", [case for case in NETWORKS if sum(p.numel() for p in case.network.parameters()) < 60], ids=str
)
def test_the_closed_form_is_right_at_second_order(case: Case) -> None:
    certificate = nets.verify(case.network, case.x, order=2)
    assert certificate.passed, str(certificate)
    assert [*dict.fromkeys(check.parameter for check in certificate.checks)] == [
        *dict(case.network.named_parameters()),
        "input",
    ]


@pytest.mark.parametrize(
    "module", [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), nn.LayerNorm(3), nn.GELU()]
)
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
def test_an_argument_that_the_second_order_does_not_use_is_refused(option: dict) -> None:
    with pytest.raises(nets.InputError, match=f"order=2 was given with {next(iter(option))}.*to a call with order=1"):
        nets.verify(nn.Tanh(), torch.ones(2, 2), order=2, **option)


def test_the_second_order_says_that_it_does_not_check_the_first() -> None:
    assert "order=2 checks the derivatives of G and not G itself" in str(
        nets.verify(nn.Tanh(), torch.ones(2, 2), order=2)
    )


SQUARE = torch.tensor([[1.3, 0.4], [-0.7, 0.9]], dtype=torch.float64)


@pytest.mark.parametrize(
    "function",
    [torch.linalg.det, torch.linalg.inv, lambda a: torch.linalg.slogdet(a)[1], lambda a: torch.linalg.solve(a, a.mT)],
)
def test_forward_mode_through_linear_algebra_gives_no_false_alarm(function: Callable[[Tensor], Tensor]) -> None:
    """Without a graph of the gradient, forward mode says that the second derivative of a determinant is zero."""
    certificate = nets.verify(Written(lambda _, a: function(a)), SQUARE, order=2)
    assert certificate.passed, str(certificate)
    assert "forward mode" in {check.against for check in certificate.checks}


@pytest.mark.parametrize(
    "function", [F.softsign, lambda x: x * x.abs(), lambda x: F.normalize(x, p=1.0), torch.special.i0e]
)
def test_the_absolute_value_is_differentiated_twice(function: Callable[[Tensor], Tensor]) -> None:
    """Forward mode adds tensors without numbers there, on the device 'meta'."""
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    certificate = nets.verify(Written(lambda _, x: function(x)), x, order=2)
    assert certificate.passed, str(certificate)


def test_the_names_are_those_of_the_first_order() -> None:
    """Also where inputs are nested and a submodule or a parameter has a name that the second order could want for
    itself."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.module, self.v = nn.Linear(2, 2), nn.Linear(2, 2), nn.Parameter(torch.ones(2))

        def forward(self, given: dict[str, Tensor], pair: tuple[Tensor, Tensor]) -> Tensor:
            return (self.network(given["x"]) * self.module(pair[1]) * self.v + pair[0]).tanh()

    given = {"x": torch.ones(1, 2)}, (torch.ones(1, 2), torch.full((1, 2), 0.5))
    first, second = (nets.verify(Inner(), *given, order=order) for order in (1, 2))
    assert second.passed, str(second)
    assert [*dict.fromkeys(c.parameter for c in second.checks)] == [*dict.fromkeys(c.parameter for c in first.checks)]
    outputs = {check.worst_index[0] for check in second.checks if check.worst_index}
    assert outputs <= {check.parameter for check in first.checks}


def test_only_the_inputs_that_require_a_gradient_are_differentiated() -> None:
    """A target is none, and `soft_margin_loss` could not be differentiated by it."""
    loss = Written(lambda _, x, t: F.soft_margin_loss(x, t))
    x, t = torch.tensor([0.3, -0.2], requires_grad=True), torch.tensor([1.0, -1.0])
    certificate = nets.verify(loss, x, t, order=2)
    assert certificate.passed, str(certificate)
    assert {check.parameter for check in certificate.checks} == {"input[0]"}
    with pytest.raises(nets.InputError, match="set requires_grad on"):
        nets.verify(loss, x.detach(), t, order=2)


def test_an_output_in_single_precision_is_differentiated_twice() -> None:
    module = Written(lambda m, x: (x @ m.weight).tanh().float(), weight=torch.ones(3, 2))
    assert nets.verify(module, torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), order=2).passed


def test_an_output_that_depends_on_nothing_has_a_gradient_of_zero() -> None:
    certificate = nets.verify(Written(lambda _, x: torch.ones_like(x)), torch.ones(2), order=2)
    assert certificate.passed, str(certificate)


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("order", [1, 2])
def test_complex_numbers_in_half_precision_give_no_traceback(order: int) -> None:
    x = torch.tensor([0.5 + 1j, 2.0], dtype=torch.complex128)
    assert nets.verify(Written(lambda _, x: x.chalf()), x, order=order).verdict != "fail"


@pytest.mark.parametrize("order", [1, 2])
def test_complex_numbers_may_follow_a_single_real_one(order: int) -> None:
    """The variance is real and the mean complex; `view_as_real` cannot take a gradient from an odd place in memory."""
    x = torch.tensor([1 + 2j, 0.5 - 1j, -1 + 0.3j], dtype=torch.complex128)
    certificate = nets.verify(Written(lambda _, x: torch.var_mean(x)), x, order=order)
    assert certificate.passed, str(certificate)
