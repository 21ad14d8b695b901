"""A module in its own precision."""

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.records.reason import Reason
from tests.in_matrix import first_in_test

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def _module(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_right_module_passes_within_a_few_units_in_the_last_place(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.random.fork_rng():
        certificate = nets.verify(_module(dtype), x, dtype="as is")
    assert certificate.passed, str(certificate)
    own = [check for check in certificate.checks if check.against == "reverse mode in float64"]
    assert {check.parameter for check in own} == {"0.weight", "0.bias", "2.weight", "2.bias", "input"}
    assert all(check.ulp is not None and check.ulp < 8 for check in own)
    assert {check.oracle for check in own} == {f"reverse mode in {str(dtype).removeprefix('torch.')}"}


class Coarse(nn.Module):
    """Right in float64; in less, a backward that goes through numbers of three digits."""

    def forward(self, x: Tensor) -> Tensor:
        return _Coarse.apply(x)


class _Coarse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return torch.sin(x)

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        slope = torch.cos(x)
        return v * (slope if x.dtype is torch.float64 else (slope * 100).round() / 100)


def test_a_backward_that_loses_digits_fails_only_in_its_own_precision() -> None:
    x = torch.tensor([0.3, 0.7], dtype=torch.float32)
    assert nets.verify(Coarse(), x).passed
    certificate = nets.verify(Coarse(), x, dtype="as is")
    assert certificate.verdict == "fail"
    assert "reverse mode in float32 gives" in certificate.sentence()


class _Rounded(_Coarse):
    """Right, but for a rounding to bfloat16 on the way."""

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        slope = v * torch.cos(x)
        return slope if x.dtype is torch.float64 else slope.to(torch.bfloat16).to(x.dtype)


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Rounded.apply(x)


def test_a_noisy_backward_does_not_widen_its_own_tolerance() -> None:
    """A backward in float32 that goes through bfloat16: its own noise is 2⁻⁸ of the gradient, and float32 has 2⁻²⁴."""
    certificate = nets.verify(Rounded(), torch.tensor([0.3, 0.7]), dtype="as is")
    (check,) = [check for check in certificate.checks if check.against == "reverse mode in float64"]
    assert check.verdict == "fail" and check.ulp is not None and check.ulp > 1000


class Autocast(nn.Module):
    """In bfloat16 where it is in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = _module(torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x).to(x.dtype)


def test_a_module_that_computes_in_less_precision_than_its_parameters_passes() -> None:
    for seed in range(4):
        x = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed))
        with torch.random.fork_rng():
            assert nets.verify(Autocast(), x, dtype="as is", seed=seed).verdict != "fail"


class Large(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 300) ** 2


def test_an_overflow_in_float16_is_not_finite() -> None:
    certificate = nets.verify(Large(), torch.tensor([1.0], dtype=torch.float16), dtype="as is")
    assert certificate.verdict == "fail" and certificate.decisive.reason is Reason.NOT_FINITE


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_gradient_that_is_truly_zero_passes_in_every_precision(dtype: torch.dtype) -> None:
    """A bias before a normalization moves nothing; what arrives there is the noise of the precision."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    certificate = nets.verify(module.to(dtype), torch.randn(6, 3, generator=generator).to(dtype), dtype="as is")
    (bias,) = [c for c in certificate.checks if c.parameter == "0.bias" and c.against == "reverse mode in float64"]
    assert bias.verdict == "pass" and bias.reason is Reason.ZERO_EVERYWHERE


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return torch.sin(x)

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return v * torch.cos(x) * (1 if x.dtype is torch.float64 else -1)


class WrongBelow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Scaled.apply(x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_mistake_is_named_in_low_precision_too(dtype: torch.dtype) -> None:
    certificate = nets.verify(WrongBelow(), torch.tensor([0.3, 0.7], dtype=dtype), dtype="as is")
    (failed,) = [check for check in certificate.checks if check.verdict == "fail"]
    assert failed.reason is Reason.WRONG_SIGN


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", first_in_test(range(20), 6))
def test_an_ill_conditioned_normalization_never_fails(seed: int, dtype: torch.dtype) -> None:
    """A normalization over two samples leaves little but their signs: its gradient is a difference of large numbers."""
    x = torch.randn(2 + seed % 3, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)
    assert nets.verify(nn.BatchNorm1d(4).to(dtype), x, dtype="as is", seed=seed).verdict != "fail"
