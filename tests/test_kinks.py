"""A point without a derivative is distinguished from a wrong derivative, and from a steep smooth function."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.records.reason import Reason
from nets.verification.noise.output_noise import output_floor
from nets.verification.problem.problem import Problem

ZEROS, ONES = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
POINT = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Written(nn.Module):
    """Y = f(X), or f(X, W)."""

    def __init__(self, function: Callable[..., Tensor], weight: Tensor | None = None) -> None:
        super().__init__()
        self.function = function
        self.weight = None if weight is None else nn.Parameter(weight)

    def forward(self, *x: Tensor) -> Tensor:
        return self.function(*x) if self.weight is None else self.function(*x, self.weight)


KINKS = {
    "|X| at 0, whose backward is the mean of its slopes": (Written(torch.abs), ZEROS),
    "many of them": (Written(torch.abs), torch.zeros(100, dtype=torch.float64)),
    "max(X, 0) at 0": (nn.ReLU(), ZEROS),
    "max(X, 0) at many": (nn.ReLU(), torch.zeros(100, dtype=torch.float64)),
    "one of many": (nn.ReLU(), torch.arange(-50.0, 50.0)),
    "‖X‖ at 0": (Written(lambda x: x.norm(dim=1)), ZEROS),
    "|X − T| at X = T": (nn.L1Loss(), POINT, POINT.clone()),
    "|X W| at W = 0": (Written(lambda x, w: (x * w).abs(), ZEROS[0].clone()), POINT),
    "a corner of hardtanh": (nn.Hardtanh(), ONES),
    "a clamp at its bound": (Written(lambda x: x.clamp(0, 1)), torch.tensor([0.0, 0.5, 1.0])),
    "the largest of equal numbers": (nn.MaxPool1d(2), ONES[None]),
    "the least singular value of 0": (
        Written(lambda x: torch.linalg.norm(x, -2)),
        torch.zeros(3, 3, dtype=torch.float64),
    ),
    "the median of equal numbers": (Written(lambda x: x.median(dim=1).values), ONES),
    "equal numbers sorted": (Written(lambda x: x.sort(dim=1).values), ONES),
    "a jump": (Written(torch.floor), torch.tensor([1.0, 0.2])),
    "a jump to both sides": (Written(torch.sign), ZEROS),
    "a kink of a ten-thousandth of the slope": (Written(lambda x: 1e-4 * x.abs() + x), ZEROS),
    "one of a millionth": (Written(lambda x: 1e-6 * x.abs() + x), ZEROS),
    "one among curves": (
        Written(lambda x: (1e-4 * x.abs() + x).exp()),
        torch.linspace(-1, 1, 101, dtype=torch.float64),
    ),
}

SMOOTH = {
    "X |X|, whose second derivative jumps": (Written(lambda x: x.abs() * x + x), ZEROS),
    "|X|^1.5 + X": (Written(lambda x: x.abs() ** 1.5 + x), ZEROS),
    "a kink beside the point": (nn.ReLU(), torch.tensor([1e-7, -1e-7, 1e-5, -1.0], dtype=torch.float64)),
    "a kink within every step of the ladder": (
        nn.ReLU(),
        torch.tensor([1e-8, -1e-8, 3e-10, -2e-11], dtype=torch.float64),
    ),
    "ten thousand radians": (Written(lambda x: torch.sin(1e4 * x)), POINT),
    "e^50X": (Written(lambda x: torch.exp(50 * x)), POINT),
    "√X near 0": (Written(torch.sqrt), torch.tensor([1e-6, 1e-3], dtype=torch.float64)),
    "a steep softplus": (nn.Softplus(beta=1000), torch.tensor([1e-4, -1e-4, 0.0], dtype=torch.float64)),
    "tanh 10⁸X, turned within every step of the first ladder": (Written(lambda x: torch.tanh(1e8 * x)), ZEROS),
    "ten million radians, in more entries than are measured again": (
        Written(lambda x: torch.sin(1e7 * x)),
        torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    ),
    "numbers whose squares are infinite": (Written(lambda x: 2 * x), POINT * 1e200),
    "an output that is the parameter itself": (Written(lambda x, w: w, ONES.clone()), POINT),
    "flat, and bent": (Written(lambda x: x**2 + 1e-3 * x), ZEROS),
}


@pytest.mark.parametrize("case", list(KINKS))
def test_a_kink_is_inconclusive(case: str) -> None:
    module, *inputs = KINKS[case]
    certificate = nets.verify(module, *inputs)
    assert certificate.verdict == "inconclusive", str(certificate)
    assert certificate.decisive.reason is Reason.KINK


@pytest.mark.parametrize("case", list(SMOOTH))
def test_a_smooth_function_has_no_kink(case: str) -> None:
    module, *inputs = SMOOTH[case]
    certificate = nets.verify(module, *inputs)
    assert certificate.passed, str(certificate)


class Half(torch.autograd.Function):
    """max(X, 0), whose backward is half of what it should be."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x.relu()

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        return v * (ctx.saved_tensors[0] > 0) / 2  # type: ignore[attr-defined]


def test_a_wrong_entry_is_found_beside_a_kink_of_another_entry() -> None:
    x = torch.tensor([0.0, 0.0, 1.5, -0.5, 2.0], dtype=torch.float64)
    certificate = nets.verify(Written(Half.apply), x)
    assert certificate.verdict == "fail"
    assert "reverse mode gives 0.5 where central difference gives 1" in certificate.sentence()


def test_an_output_that_depends_on_rounding_never_fails() -> None:
    """round(½) is 0 or 1 as the last digit falls, so that its noise is as large as what could be seen."""
    assert nets.verify(Written(torch.round), torch.tensor([0.5, 0.2], dtype=torch.float64)).verdict == "inconclusive"


def test_a_function_that_turns_within_the_steps_has_no_kink() -> None:
    """sin(10⁷ X): of all steps only the smallest is short enough, and there the difference is known to a few per
    cent."""
    certificate = nets.verify(Written(lambda x: torch.sin(1e7 * x)), POINT)
    assert certificate.verdict != "fail" and Reason.KINK not in {check.reason for check in certificate.checks}


@pytest.mark.parametrize("distance", [1e-4, 1e-8, 1e-10, 1e-15])
def test_a_kink_that_every_long_probe_crosses_is_not_a_fault(distance: float) -> None:
    """A hidden unit near zero, of more parameters than are checked one by one: a shorter probe finds the derivative, or
    rounding hides it and the kink is what is named."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(60, 96), nn.ReLU(), nn.Linear(96, 3)).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    x = torch.randn(4, 60, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        module[0].bias[7] -= module[0](x)[2, 7] + distance
    certificate = nets.verify(module, x)
    assert certificate.passed or (
        certificate.verdict == "inconclusive" and certificate.decisive.reason is Reason.KINK
    ), str(certificate)
    assert certificate.passed or distance < 1e-7
    if distance == 1e-8:
        # Entry by entry the steps are short enough.
        assert nets.verify(module, x, coverage="full").passed


def test_errors_that_cancel_in_one_run_do_not_cancel_in_sixteen() -> None:
    """sin(10⁹ X): the noise of Y comes from the product, and is 10⁹ u |X| for every X."""
    for seed in range(12):
        x = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert nets.verify(Written(lambda x: torch.sin(1e9 * x)), x, seed=seed).verdict != "fail"


SATURATED = {
    "tanh 25 is 1, and 1 − Y² is 0": (nn.Tanh(), torch.full((2, 3), 25.0)),
    "a sigmoid of 40": (nn.Sigmoid(), torch.full((2, 3), 40.0)),
    "the tail of a GELU, whose kernel rounds 1 + erf as it rounds 1": (nn.GELU(), torch.full((2, 3), -6.0)),
    "a softmax that has chosen": (nn.Softmax(dim=1), torch.tensor([[0.0, 50.0, 200.0], [100.0, 0.0, 0.0]])),
    "a square below the smallest number": (Written(torch.square), POINT * 1e-200),
    "the far tail of a GELU": (nn.GELU(), torch.full((5, 7), -20.0)),
    "X |X| at 0, by which a complex step gives h": (Written(lambda x: x * x.abs()), ZEROS),
}


@pytest.mark.parametrize("case", list(SATURATED))
def test_a_slope_below_the_rounding_error_is_not_a_fault(case: str) -> None:
    """The complex step knows it to 1e-300; the backward knows it to the rounding of the output that it is computed
    from."""
    module, x = SATURATED[case]
    assert nets.verify(module, x).verdict != "fail"


TURNING = {
    "sin 10¹⁴X": (lambda x: torch.sin(1e14 * x), torch.tensor([0.3, 0.7], dtype=torch.float64)),
    "softmax of huge equal numbers": (lambda x: x.softmax(0), torch.full((2,), 1e17, dtype=torch.float64)),
    "softmax of numbers near the largest": (lambda x: x.softmax(0), torch.full((2,), 1e300, dtype=torch.float64)),
}


@pytest.mark.parametrize("name", TURNING)
def test_a_function_that_turns_within_the_smallest_step_is_inconclusive(name: str) -> None:
    function, x = TURNING[name]
    certificate = nets.verify(Written(function), x)
    assert certificate.verdict == "inconclusive" and certificate.decisive.reason is Reason.TURNS_WITHIN_THE_STEP, str(
        certificate
    )


def test_rounding_within_a_kernel_is_measured_along_a_line() -> None:
    """log Σ e^X = X₀ + 3e-4: the sum 1.0003 is rounded to u, within one kernel, and the log-softmax is known to u and
    no better."""
    x = torch.tensor([8.1, 0.3, -0.2], dtype=torch.float64)
    floor = output_floor(Problem(Written(lambda x: x.log_softmax(0)), (x,)), 0)
    assert 2.0**-54 < floor[0] < 2.0**-50


@pytest.mark.parametrize(
    "function", [torch.floor, torch.abs, lambda x: torch.sin(1e8 * x)], ids=["jump", "kink", "turning"]
)
def test_jumps_kinks_and_curves_do_not_count_as_noise(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.tensor([1.0, 2e-9], dtype=torch.float64)
    noise = 2.0**-53 * (1e8 if function(x)[1] > 1e-2 else 1.0)
    floor = output_floor(Problem(Written(lambda x: function(x - 1e-9) + 1.0), (x,)), 0)
    assert float(floor.max()) < 64 * noise


@pytest.mark.parametrize("scale", [1e-160, 1e-161, 1e-162])
def test_a_gradient_that_underflows_is_not_a_fault(scale: float) -> None:
    x = torch.tensor([0.3, 0.7, 2.1], dtype=torch.float64)
    assert nets.verify(Written(lambda x: (x * scale).square()), x).verdict != "fail"
