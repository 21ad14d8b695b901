"""Modules that keep the contract of a backward where others break it: every layout, several outputs, calls in
between."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.building import Draw, Make, Written, built, normal, shaped
from tests.wrong.functions import Saved


class Square(torch.autograd.Function):
    """Of a kernel that reads by strides."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * g


class ExpOfItsOutput(torch.autograd.Function):
    """Autograd notices a write into the output that it has saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * y


class Moments(torch.autograd.Function):
    """Mean and mean square. Either may have no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x.mean(-1), x.square().mean(-1)

    @staticmethod
    def backward(ctx: Any, first: Tensor | None, second: Tensor | None) -> Tensor:
        (x,) = ctx.saved_tensors
        found = torch.zeros_like(x)
        if first is not None:
            found = found + first[:, None] / x.shape[-1]
        if second is not None:
            found = found + 2 * x * second[:, None] / x.shape[-1]
        return found


class ClonedThenWritten(Saved):
    """Writes to a copy of the gradient."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.clone().mul_(ctx.saved_tensors[0].cos())


class Shown(nn.Module):
    """softmax(X Wᵀ), which keeps the last of it for whoever wants to look."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.shown: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.shown = self.linear(x).softmax(-1)
        return self.shown


def _transposed(*shape: int) -> Draw:
    return lambda generator: normal(generator, *shape).mT


def _with_weight(formula: Any, weight: Draw, *points: Draw) -> Make:
    return lambda r: (Written(formula, weight=weight(r)), tuple(point(r) for point in points))


def _channels_last(generator: torch.Generator) -> Tensor:
    return normal(generator, 2, 2, 3, 3).to(memory_format=torch.channels_last)


CONTRACTS: dict[str, Make] = {
    "layout: a transposed input": lambda r: (Written(lambda m, x: Square.apply(x)), (normal(r, 2, 3).mT,)),
    "layout: a slice of a larger input": lambda r: (
        Written(lambda m, x: Square.apply(x)),
        (normal(r, 4, 5)[1:3, 1:4],),
    ),
    "layout: every second number": lambda r: (Written(lambda m, x: Square.apply(x)), (normal(r, 9)[1::2],)),
    "layout: an expanded input": lambda r: (Written(lambda m, x: Square.apply(x)), (normal(r, 1, 3).expand(2, 3),)),
    "layout: a transposed weight": _with_weight(
        lambda m, x: x @ Square.apply(m.weight), _transposed(2, 3), shaped(2, 3)
    ),
    "layout: a complex transposed weight": _with_weight(
        lambda m, x: x.to(m.weight.dtype) @ m.weight,
        lambda r: torch.complex(normal(r, 2, 3), normal(r, 2, 3)).mT,
        shaped(2, 3),
    ),
    "layout: channels last": lambda r: (nn.Conv2d(2, 2, 2).double(), (_channels_last(r),)),
    "layout: channels last, the weight too": built(
        lambda: nn.Conv2d(2, 2, 2).to(memory_format=torch.channels_last), _channels_last
    ),
    "several outputs: mean and mean square": lambda r: (Written(lambda m, x: Moments.apply(x)), (normal(r, 2, 3),)),
    "several outputs: four of them": lambda r: (
        Written(lambda m, x: (x.sin(), x.cos(), *Moments.apply(x))),
        (normal(r, 2, 3),),
    ),
    "several outputs: one twice": lambda r: (Written(lambda m, x: (y := x.sin(), y, y * x)), (normal(r, 2, 3),)),
    "writes to a copy of the gradient": lambda r: (
        Written(lambda m, x: x + ClonedThenWritten.apply(x)),
        (normal(r, 2, 3),),
    ),
    "the last activation, shown": built(Shown, shaped(2, 3)),
    "its output saved by save_for_backward": lambda r: (
        Written(lambda m, x: ExpOfItsOutput.apply(x)),
        (normal(r, 2, 3),),
    ),
    "its input, returned as it is": lambda r: (Written(lambda m, x: (x, x.exp())), (normal(r, 2, 3),)),
}
