"""Derivations as witnesses: the one that disagrees with the rest is named; and a gradient may be meant to differ."""

import torch
from torch import Tensor, nn

import nets
from tests.building import Written


def _randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_wrong_forward_mode_is_named_while_the_backward_is_right() -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x * x

        @staticmethod
        def setup_context(ctx: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)  # type: ignore[attr-defined]
            ctx.save_for_forward(*inputs)  # type: ignore[attr-defined]

        @staticmethod
        def backward(ctx: object, v: Tensor) -> Tensor:
            return 2 * ctx.saved_tensors[0] * v  # type: ignore[attr-defined]

        @staticmethod
        def jvp(ctx: object, t: Tensor) -> Tensor:
            return ctx.saved_tensors[0] * t  # type: ignore[attr-defined]

    certificate = nets.verify(Written(lambda self, x: Square.apply(x)), _randn(3))
    (failed,) = [check for check in certificate.checks if check.verdict == "fail"]
    assert failed.oracle == "forward mode" and "forward mode is the one that is wrong" in failed.reason


def test_a_stated_closed_form_is_a_witness() -> None:
    module, x = nn.Linear(3, 2).double(), _randn(2, 3)

    def right(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
        return {"weight": torch.einsum("ki,nj->nkij", torch.eye(2).double(), x)}

    def wrong(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
        return {"weight": -right(module, x)["weight"]}

    assert nets.verify(module, x, closed_form=right).passed
    certificate = nets.verify(module, x, closed_form=wrong)
    (failed,) = [check for check in certificate.checks if check.verdict == "fail"]
    assert failed.oracle == "stated closed form" and "wrong sign" in failed.reason


class Straight(torch.autograd.Function):
    """round, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        return v


def test_a_straight_through_estimator_fails_unless_it_is_intended() -> None:
    module, x = Written(lambda self, x: Straight.apply(x)), torch.tensor([0.2, 1.3, -0.7])
    certificate = nets.verify(module, x)
    assert certificate.verdict == "fail" and "wrong derivative" in certificate.sentence()
    assert nets.verify(module, x, intended=("input",)).passed
    identity = {"input": torch.eye(3)}
    assert nets.verify(module, x, intended=("input",), closed_form=lambda module, x: identity).passed
    double = {"input": 2 * torch.eye(3)}
    assert not nets.verify(module, x, intended=("input",), closed_form=lambda module, x: double).passed
