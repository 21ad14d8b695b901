"""Modules in bfloat16, in float16 and under autocast: nine of ten right ones pass, and wrong ones fail."""

import itertools

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.records.certificate import Certificate
from nets.records.reason import Reason
from nets.verification.checks.precision import check_as_is
from nets.verification.problem.problem import Problem
from tests.half_modules import FAULTS, PRECISIONS, RIGHT, made, spoiled

SEEDS = range(5)

ALL = list(itertools.product(RIGHT, PRECISIONS))
FEW = [("GELU", "bfloat16"), ("LayerNorm", "float16"), ("GELU", "autocast")]
"""The part that `make test` runs; `make power` runs all."""

EACH = [pytest.param(*case, marks=[] if case in FEW else pytest.mark.matrix, id=", ".join(case)) for case in ALL]


def as_is(module: nn.Module, x: Tensor, seed: int) -> Certificate:
    """The part of `verify` with dtype='as is' that this is about."""
    with torch.random.fork_rng(devices=[]):
        checks, notes = check_as_is(module, (x,), Problem(module, (x,), seed=seed))
    return Certificate(tuple(checks), notes=tuple(notes))


@pytest.mark.matrix
@pytest.mark.parametrize("precision", PRECISIONS)
def test_nine_of_ten_right_modules_pass_and_none_fails(precision: str) -> None:
    found = {(name, seed): as_is(*made(name, precision, seed), seed) for name in RIGHT for seed in SEEDS}
    failed = {key: certificate.sentence() for key, certificate in found.items() if certificate.verdict == "fail"}
    unsure = {
        key: certificate.sentence() for key, certificate in found.items() if certificate.verdict == "inconclusive"
    }
    assert not failed
    assert len(unsure) <= len(found) / 10, unsure


@pytest.mark.parametrize(("name", "precision"), EACH)
def test_a_right_module_passes_and_states_a_power_of_a_tenth(name: str, precision: str) -> None:
    certificate = as_is(*made(name, precision, 0), 0)
    assert certificate.passed, certificate.sentence()
    assert all(check.detects is None or check.detects <= 0.1 for check in certificate.checks)
    assert any("a row or column whose scale is off by" in note for note in certificate.notes)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("name", "precision"), EACH)
def test_a_gradient_that_is_a_tenth_off_or_has_a_row_of_zeros_or_the_wrong_sign_fails(
    name: str, precision: str, fault: str
) -> None:
    """Of each module the gradient by the input, and by two of its parameters, others for each fault."""
    module, x = made(name, precision, 0)
    truth = Problem(module, (x,)).gradient
    first = {p: gradient[0] if fault == "the first row zero" else gradient for p, gradient in truth.items()}
    telling = [p for p, gradient in first.items() if gradient.norm() > 1e-9]
    parameters = [p for p in telling if p != "input"]
    turn = list(FAULTS).index(fault)
    for point in [
        *(parameters[(turn + i * len(parameters) // 2) % len(parameters)] for i in (0, 1) if parameters),
        "input",
    ]:
        if point not in telling:
            continue
        module, x = made(name, precision, 0)
        certificate = as_is(spoiled(module, point, fault), x, 0)
        assert certificate.verdict == "fail", f"{point}: {certificate.sentence()}"
        wrong = {check.parameter.removeprefix("inner.") for check in certificate.checks if check.verdict == "fail"}
        assert wrong == {point.removeprefix("inner.")}


class _Centred(torch.autograd.Function):
    """A layer norm without gain; its backward forgets, below float64, that the mean depends on X as well."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        scale = (x.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
        y = (x - x.mean(-1, keepdim=True)) * scale
        ctx.save_for_backward(y, scale)  # type: ignore[attr-defined]
        return y

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        mean = v.mean(-1, keepdim=True) if v.dtype is torch.float64 else 0
        return (v - mean - y * (v * y).mean(-1, keepdim=True)) * scale


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Centred.apply(x)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_missing_term_that_does_not_change_the_scale_fails(precision: str) -> None:
    """The missing mean is orthogonal to the gradient, so that only what is left beside the scale shows it."""
    _, x = made("LayerNorm", precision, 0)
    certificate = as_is(Centred(), x, 0)
    assert certificate.verdict == "fail"


def test_a_wrong_sum_is_named_with_its_factor() -> None:
    module, x = made("GELU", "bfloat16", 0)
    (failed,) = [c for c in as_is(spoiled(module, "0.weight", "a tenth too large"), x, 0).checks if c.verdict == "fail"]
    assert (failed.parameter, failed.reason) == ("0.weight", Reason.WRONG_SUM) and "1.1 times" in failed.message
    (failed,) = [
        c for c in as_is(spoiled(module, "0.weight", "the first row zero"), x, 0).checks if c.verdict == "fail"
    ]
    assert failed.reason is Reason.ONE_SLICE and "row of 0.weight: 0" in failed.message


def test_a_certificate_in_bfloat16_states_its_power() -> None:
    module, x = made("attention", "bfloat16", 1)
    certificate = nets.verify(module, x, dtype="as is")
    assert certificate.passed, str(certificate)
    assert any(note.startswith("in bfloat16, a row or column whose scale is off by") for note in certificate.notes)


@pytest.mark.parametrize("factor", [0.998, 1.002])
def test_float32_keeps_its_power(factor: float) -> None:
    """A scale that is a five-hundredth off, where a thousandth must be seen."""
    module, x = made("attention", "bfloat16", 0)
    module.get_parameter("qkv.weight").register_hook(lambda g: g if g.dtype is torch.float64 else factor * g)
    certificate = as_is(module.float(), x.float(), 0)
    assert {check.parameter for check in certificate.checks if check.verdict == "fail"} == {"qkv.weight"}


def test_other_random_numbers_in_another_precision_are_not_a_fault() -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).to(torch.bfloat16)
    x = made("LayerNorm", "bfloat16", 0)[1]
    assert as_is(module, x, 0).verdict != "fail"


class Faint(nn.Module):
    """A gradient near 2⁻²⁴, the smallest number of float16, where a bit or two are left, or none."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) * self.size


def test_an_underflow_in_float16_is_not_a_fault() -> None:
    for seed in SEEDS:
        x = made("LayerNorm", "float16", seed)[1]
        assert as_is(Faint(2.0**-22), x, seed).verdict != "fail"
        assert as_is(Faint(2.0**-26), x, seed).verdict == "inconclusive"
