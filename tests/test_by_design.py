"""Gradients that differ from the derivative by design fail until the caller declares them: see docs/certificate.md."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from nets.records.reason import Reason

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
INDICES = torch.tensor([[0, 2], [2, 3]])


class Written(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: Tensor) -> Tensor:
        return self.function(*x)


def reversed_by_hook(x: Tensor) -> Tensor:
    y = 2 * x
    if y.requires_grad:
        y.register_hook(lambda v: -v)
    return y


FAIL: dict[str, tuple[nn.Module, Tensor, str, Reason, str]] = {
    "by frequency": (
        nn.Embedding(5, 3, scale_grad_by_freq=True),
        INDICES,
        "weight",
        Reason.ONE_SLICE,
        "gives 0.5",
    ),
    "straight through": (
        Written(lambda x: x + (x.round() - x).detach()),
        X,
        "input",
        Reason.STRAIGHT_THROUGH,
        "gives 1",
    ),
    "a hard sample": (
        Written(lambda x: F.gumbel_softmax(x, hard=True)),
        X,
        "input",
        Reason.STRAIGHT_THROUGH_A_PART,
        "gives 0;",
    ),
    "fake quantization": (
        Written(lambda x: torch.fake_quantize_per_tensor_affine(x.float(), 0.1, 0, -128, 127)),
        X,
        "input",
        Reason.STRAIGHT_THROUGH,
        "gives 0;",
    ),
    "gradient reversal": (Written(reversed_by_hook), X, "input", Reason.WRONG_SIGN, ""),
    "a detached mean": (Written(lambda x: (x - x.detach().mean()).square()), X, "input", Reason.DETACHED, ""),
    "a third in float32": (nn.CELU(0.3), X, "input", Reason.BELOW_A_KINK, ""),
    "a sixth in float32": (nn.Hardsigmoid(), X, "input", Reason.CONSTANT_FACTOR, "1.00000003"),
}

PASS: dict[str, tuple[nn.Module, Tensor]] = {
    "padding that does not occur": (nn.Embedding(5, 3, padding_idx=1), INDICES),
    "padding that is left out of the output": (nn.EmbeddingBag(5, 3, padding_idx=2), INDICES),
    "every index once": (nn.Embedding(5, 3, scale_grad_by_freq=True), torch.tensor([1, 4])),
    "a half in float32": (nn.CELU(0.5), X),
}


@pytest.mark.parametrize("case", list(FAIL))
def test_a_gradient_that_is_no_derivative_fails_until_it_is_declared(case: str) -> None:
    module, x, name, reason, fact = FAIL[case]
    certificate = nets.verify(module, x)
    failed: Any = {check.parameter for check in certificate.checks if check.verdict == "fail"}
    assert failed == {name} and certificate.decisive.reason is reason, str(certificate)
    assert fact in certificate.sentence()
    assert nets.verify(module, x, intended=(name,)).verdict == "pass"


@pytest.mark.parametrize("case", list(PASS))
def test_where_nothing_is_stopped_it_passes(case: str) -> None:
    module, x = PASS[case]
    certificate = nets.verify(module, x)
    assert certificate.passed, str(certificate)
