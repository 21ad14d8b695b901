"""One wrong backward pass for each mistake that a certificate names."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.records.check import Check
from nets.records.reason import Reason

X = torch.tensor([[0.3, -1.2, 0.8], [1.1, 0.4, -0.7]], dtype=torch.float64)


class Backward(torch.autograd.Function):
    """X Wᵀ with the gradients that `wrong(v, x, weight)` gives."""

    @staticmethod
    def forward(ctx: object, x: Tensor, weight: Tensor, wrong: object) -> Tensor:
        ctx.save_for_backward(x, weight)  # type: ignore[attr-defined]
        ctx.wrong = wrong  # type: ignore[attr-defined]
        return x @ weight.mT

    @staticmethod
    def backward(ctx: object, v: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        return v @ weight, ctx.wrong(v, x, weight), None  # type: ignore[attr-defined]


class Product(nn.Module):
    """Y = X Wᵀ, W of shape (3, 3)."""

    def __init__(self, wrong: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        return Backward.apply(x, self.weight, self.wrong)


Rule = Callable[[Tensor, Tensor, Tensor], Tensor]

MISTAKES: dict[str, tuple[Reason, str, Rule]] = {
    "the sign": (Reason.WRONG_SIGN, "", lambda v, x, weight: -v.mT @ x),
    "doubled": (Reason.CONSTANT_FACTOR, " 2", lambda v, x, weight: 2 * v.mT @ x),
    "a thousandth too large": (Reason.CONSTANT_FACTOR, " 1.001", lambda v, x, weight: 1.001 * v.mT @ x),
    "1e-7 too large": (Reason.CONSTANT_FACTOR, " 1.0000001", lambda v, x, weight: (1 + 1e-7) * v.mT @ x),
    "transposed": (Reason.TRANSPOSED, "", lambda v, x, weight: x.mT @ v),
    "zero": (Reason.NO_GRADIENT, "", lambda v, x, weight: torch.zeros_like(weight)),
    "one sample": (Reason.SAMPLES_LEFT_OUT, "sample 1", lambda v, x, weight: v[:1].mT @ x[:1]),
    "a half": (Reason.HALF_OF_TWO, "1/2", lambda v, x, weight: v.mT @ x / 2),
    "no cotangent": (Reason.COTANGENT_IGNORED, "", lambda v, x, weight: torch.ones_like(v).mT @ x),
    "a row": (Reason.ONE_SLICE, "row of weight: 2", lambda v, x, w: (v.mT @ x).index_fill(0, torch.tensor([2]), 0.0)),
    "a column": (
        Reason.ONE_SLICE,
        "column of weight: 1",
        lambda v, x, w: (v.mT @ x).index_fill(1, torch.tensor([1]), 0.0),
    ),
    "an entry": (
        Reason.ONE_ENTRY,
        "weight: [2, 1]",
        lambda v, x, w: (v.mT @ x).index_put((torch.tensor(2), torch.tensor(1)), v.new_zeros(())),
    ),
}
"""A wrong gradient of the weight → the reason that names it, a fact of its message, and the rule."""


def failed(certificate: nets.Certificate) -> list[Check]:
    """The failed checks that show an entry."""
    return [check for check in certificate.checks if check.verdict == "fail" and check.worst_index is not None]


def test_a_third_with_three_samples_is_an_average() -> None:
    """With two, a half may come from anything."""
    certificate = nets.verify(Product(lambda v, x, weight: v.mT @ x / 3), torch.cat([X, X[:1] + 1]))
    assert {check.reason for check in failed(certificate)} == {Reason.AVERAGED_OVER_THE_BATCH}
    assert "1/3" in certificate.sentence()


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_the_mistake_is_named(mistake: str) -> None:
    reason, fact, rule = MISTAKES[mistake]
    checks = failed(nets.verify(Product(rule), X))
    assert {check.parameter for check in checks} == {"weight"}
    assert {check.reason for check in checks} == {reason} and all(fact in check.message for check in checks)


class _Leaky(torch.autograd.Function):
    """The leaky ReLU, whose backward forgets the leak."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return torch.where(x > 0, x, 0.1 * x)

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        return v * (ctx.saved_tensors[0] > 0)  # type: ignore[attr-defined]


class Leaky(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Leaky.apply(x)


def test_a_fault_below_the_kink_is_named() -> None:
    certificate = nets.verify(Leaky(), torch.tensor([-2.0, 1.5, -0.4, 0.3, 0.9], dtype=torch.float64))
    assert {check.reason for check in failed(certificate)} == {Reason.BELOW_A_KINK} and "0.3" in certificate.sentence()


def test_no_mistake_is_named_if_none_fits() -> None:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    certificate = nets.verify(Product(lambda v, x, weight: v.mT @ x + 0.1 * noise * v.sum()), X)
    assert {check.reason for check in failed(certificate)} == {Reason.WRONG_DERIVATIVE}


def test_the_padding_row_is_named() -> None:
    """Its gradient is zero by design, and passes once the caller declares it."""
    module, x = nn.Embedding(5, 3, padding_idx=0), torch.tensor([[0, 2], [3, 0]])
    checks = failed(nets.verify(module, x))
    assert {check.reason for check in checks} == {Reason.ONE_SLICE}
    assert all("row of weight: 0" in check.message for check in checks)
    assert nets.verify(module, x, intended=("weight",)).passed


def test_a_small_error_of_one_entry_is_not_a_constant_factor() -> None:
    entry = torch.zeros(3, 3, dtype=torch.float64).index_put(
        (torch.tensor(1), torch.tensor(2)), torch.tensor(1e-7).double()
    )
    certificate = nets.verify(Product(lambda v, x, weight: v.mT @ x * (1 + entry)), X)
    assert {check.reason for check in failed(certificate)} == {Reason.ONE_ENTRY} and "[1, 2]" in certificate.sentence()
