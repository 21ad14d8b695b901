"""One wrong backward pass for each cause that a certificate names."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets

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


CAUSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "wrong sign": lambda v, x, weight: -v.mT @ x,
    "a constant factor 2": lambda v, x, weight: 2 * v.mT @ x,
    "a constant factor 1.001": lambda v, x, weight: 1.001 * v.mT @ x,
    "a constant factor 1.0000001": lambda v, x, weight: (1 + 1e-7) * v.mT @ x,
    "transposed": lambda v, x, weight: x.mT @ v,
    "zero: no gradient arrives": lambda v, x, weight: torch.zeros_like(weight),
    "not summed over the batch: sample 1 left out": lambda v, x, weight: v[:1].mT @ x[:1],
    "a constant factor 1/2 (as if averaged over the batch of 2)": lambda v, x, weight: v.mT @ x / 2,
    "upstream gradient ignored": lambda v, x, weight: torch.ones_like(v).mT @ x,
    "one row of weight: 2": lambda v, x, weight: (v.mT @ x).index_fill(0, torch.tensor([2]), 0.0),
    "one column of weight: 1": lambda v, x, weight: (v.mT @ x).index_fill(1, torch.tensor([1]), 0.0),
    "one entry of weight: [2, 1]": lambda v, x, weight: (v.mT @ x).index_put((torch.tensor(2), torch.tensor(1)), v.new_zeros(())),
}


def test_a_third_with_three_samples_is_an_average() -> None:
    """With two, it may be a half for whatever reason."""
    sentence = nets.verify(Product(lambda v, x, weight: v.mT @ x / 3), torch.cat([X, X[:1] + 1])).sentence()
    assert "it looks like averaged over the batch: a constant factor 1/3, the number of samples" in sentence


@pytest.mark.parametrize("cause", list(CAUSES))
def test_the_cause_is_named(cause: str) -> None:
    certificate = nets.verify(Product(CAUSES[cause]), X)
    failed = [check for check in certificate.checks if check.verdict == "fail"]
    assert {check.parameter for check in failed} == {"weight"}
    assert all(f"it looks like {cause}" in check.message for check in failed if check.worst_index is not None), str(certificate)


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
    assert "it looks like below the kink: wrong where input is under 0.3, right above" in certificate.sentence()


def test_no_cause_is_named_where_no_pattern_is_plain() -> None:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    certificate = nets.verify(Product(lambda v, x, weight: v.mT @ x + 0.1 * noise * v.sum()), X)
    assert certificate.verdict == "fail" and "looks like" not in certificate.sentence()


def test_a_row_that_is_left_out_on_purpose_is_that_row() -> None:
    """Without the padding row the gradient is no derivative, until the caller says that it is meant so."""
    module, x = nn.Embedding(5, 3, padding_idx=0), torch.tensor([[0, 2], [3, 0]])
    assert "it looks like one row of weight: 0" in nets.verify(module, x).sentence()
    assert nets.verify(module, x, intended=("weight",)).passed


def test_one_entry_that_is_a_little_off_is_no_constant_factor() -> None:
    entry = torch.zeros(3, 3, dtype=torch.float64).index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(1e-7).double())
    certificate = nets.verify(Product(lambda v, x, weight: v.mT @ x * (1 + entry)), X)
    assert "it looks like one entry of weight: [1, 2]" in certificate.sentence()
