"""Backward passes that are right for contiguous tensors at the point of the first call, and wrong elsewhere."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nets.records.reason import Reason
from tests.building import Made, normal
from tests.wrong.contracts import Applied, BrokenContract
from tests.wrong.functions import Saved


def _sine_of_the_first_call(by_shape: bool) -> Callable[[Tensor], Tensor]:
    """sin x with the slope of the very first call, or of the first call with inputs of that shape. A new class each
    time, since the first call decides its slope."""
    kept: dict[Any, Tensor] = {}

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.key = x.shape if by_shape else None
            kept.setdefault(ctx.key, x.detach().cos())
            return x.sin()

        @staticmethod
        def backward(ctx: Any, v: Tensor) -> Tensor:
            return v * kept[ctx.key]

    return Sine.apply


def first_call(by_shape: bool) -> Callable[[torch.Generator], Made]:
    return lambda r: (Applied(_sine_of_the_first_call(by_shape)), (normal(r, 2, 3),))


class OfTheFirstCall(nn.Module):
    """X W + b, with W as it was at the first call."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(normal(generator, 3, 2)), nn.Parameter(normal(generator, 2))
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = self.weight.detach().clone()
        return x @ self.kept + self.bias


def another_weight(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """The output after the weight has moved."""
    module(*inputs)
    with torch.no_grad():
        module.weight += 1
        return module(*inputs), inputs[0] @ module.weight + module.bias


class Mask(nn.Module):
    """max(x, 0), whose backward uses the mask of the very first call."""

    def __init__(self) -> None:
        super().__init__()
        kept: list[Tensor] = []

        class Rectified(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor) -> Tensor:
                kept.append(x.detach() > 0)
                return x.relu()

            @staticmethod
            def backward(ctx: Any, v: Tensor) -> Tensor:
                return v * kept[0]

        self.function = Rectified.apply

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def other_signs(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    module(*inputs)
    x = (-inputs[0]).detach().requires_grad_()
    return torch.autograd.grad(module(x).sum(), x)[0], (x.detach() > 0).to(x)


def another_point(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """Σ sin x at another point than the first call."""
    module(*inputs)
    x = (inputs[0] + 1).detach().requires_grad_()
    return torch.autograd.grad(module(x).sum(), x)[0], x.detach().cos()


class ByPointer(torch.autograd.Function):
    """X W, whose backward reads W as if it were contiguous, as a kernel may."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return v @ torch.as_strided(weight, weight.shape, (weight.shape[1], 1), weight.storage_offset()).mT, x.mT @ v


class Sliced(nn.Module):
    """X W, with every second column of a larger matrix for W."""

    def __init__(self, larger: Tensor, buffer: bool) -> None:
        super().__init__()
        if buffer:
            self.register_buffer("weight", larger[:, ::2])
        else:
            self.weight = nn.Parameter(larger[:, ::2])

    def forward(self, x: Tensor) -> Any:
        return ByPointer.apply(x, self.weight)


def sliced(buffer: bool) -> Callable[[torch.Generator], Made]:
    return lambda r: (Sliced(normal(r, 3, 8), buffer), (normal(r, 2, 3),))


def of_a_slice(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """The gradient of the sum of X W by X: the sums of the rows of W."""
    x = inputs[0].detach().requires_grad_()
    return torch.autograd.grad(module(x).sum(), x)[0], module.weight.detach().sum(1).expand(x.shape)


class SineWithoutRepeats(Saved):
    """sin x, whose backward does not support numbers that share one place in memory."""

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.zeros_like(v) if 0 in x.stride() else v * x.cos()


def expanded(generator: torch.Generator) -> Made:
    return Applied(SineWithoutRepeats.apply), (normal(generator, 1, 4).expand(3, 4),)


def of_an_expanded_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    x = inputs[0].detach().requires_grad_()
    return torch.autograd.grad(module(x).sum(), x)[0], x.detach().cos()


KEPT = Reason.KEPT_FROM_AN_EARLIER_CALL

ELSEWHERE = [
    BrokenContract("kept from the first call", first_call(False), another_point, (), KEPT),
    BrokenContract("kept from the first call of that shape", first_call(True), another_point, (), KEPT),
    BrokenContract("mask of the first call", lambda r: (Mask(), (normal(r, 3, 4),)), other_signs, (), KEPT),
    BrokenContract(
        "weight of the first call",
        lambda r: (OfTheFirstCall(r), (normal(r, 2, 3),)),
        another_weight,
        (),
        Reason.OUTPUT_REMEMBERS,
    ),
    BrokenContract(
        "layout: a sliced parameter read by its pointer", sliced(False), of_a_slice, ("weight",), Reason.OTHER_LAYOUT
    ),
    BrokenContract(
        "layout: a sliced buffer read by its pointer", sliced(True), of_a_slice, (), Reason.WRONG_DERIVATIVE
    ),
    BrokenContract("layout: an expanded input", expanded, of_an_expanded_input, ("input",), Reason.EXPANDED_INPUT),
]
