"""Right values, right gradients, and wrong gradients of the gradient, as such mistakes are made in a backward written
by hand."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nets.records.reason import Reason
from tests.building import shaped
from tests.wrong.functions import Saved
from tests.wrong.record import WrongBackward


class Sine(nn.Module):
    """sin x by a Function of its own."""

    function: type[torch.autograd.Function]

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


class Once(Saved):
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * ctx.saved_tensors[0].cos()


class KeptOnCtx(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slope = x.cos()
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * ctx.slope


class SavedIntermediate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x, x.cos())
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * ctx.saved_tensors[1]


class DetachedInside(Saved):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * ctx.saved_tensors[0].cos().detach()


class WithoutGraph(Saved):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        with torch.no_grad():
            return g * ctx.saved_tensors[0].cos()


class WrongSignOfTheSecond(Saved):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _Cosine.apply(g, ctx.saved_tensors[0])


class _Cosine(torch.autograd.Function):
    """g cos x, whose derivative by x is −g sin x."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(g, x)
        return g * x.cos()

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        g, x = ctx.saved_tensors
        return u * x.cos(), u * g * x.sin()


class IncomingDetached(Saved):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.detach() * ctx.saved_tensors[0].cos()


class IncomingScaled(Saved):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _ScaledByG.apply(g, ctx.saved_tensors[0])


class _ScaledByG(_Cosine):
    """g cos x, whose derivative by g is cos x and here a tenth more."""

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        g, x = ctx.saved_tensors
        return 1.1 * u * x.cos(), -u * g * x.sin()


def _of(
    name: str, function: type[torch.autograd.Function], cause: Reason | None, point: str = "input"
) -> WrongBackward:
    make: Callable[..., Any] = lambda generator: (Sine(function), (shaped(2, 3)(generator),))  # noqa: E731
    return WrongBackward(name, make, cause, point, "second order")


SECOND_ORDER = [
    _of("second order: once_differentiable", Once, Reason.INTERMEDIATE_KEPT),
    _of("second order: intermediate kept on ctx", KeptOnCtx, Reason.INTERMEDIATE_KEPT),
    _of("second order: intermediate saved without its graph", SavedIntermediate, Reason.INTERMEDIATE_KEPT),
    _of("second order: detached inside the backward", DetachedInside, Reason.INTERMEDIATE_KEPT),
    _of("second order: backward under no_grad", WithoutGraph, Reason.INTERMEDIATE_KEPT),
    _of("second order: wrong sign", WrongSignOfTheSecond, Reason.WRONG_SIGN),
    _of("second order: incoming gradient detached", IncomingDetached, Reason.WRONG_BY_COTANGENT, "v"),
    _of("second order: wrong by the incoming gradient", IncomingScaled, None, "v"),
]
