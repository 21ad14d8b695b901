"""Functions whose backward breaks the contract of autograd in one way each."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tests.building import normal


def _raw(t: Tensor) -> Tensor:
    """The numbers in the order in which they lie in memory, as a kernel finds them that is handed a pointer and no
    strides."""
    return t if 0 in t.stride() else torch.as_strided(t, t.shape, torch.empty(t.shape).stride(), t.storage_offset())


class Saved(torch.autograd.Function):
    """sin x, which saves x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()


class SquareByPointer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * _raw(x) * _raw(g)


class SineOfOneGradient(Saved):
    """Takes an expanded gradient for a scalar one: it reads the first number for all of a row."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (g.flatten()[0] if 0 in g.stride() else g) * x.cos()


class SineOfAView(Saved):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (g.view(-1) * x.cos().reshape(-1)).view(x.shape)


class SineFromStorage(Saved):
    """Reads the gradient from the beginning of its storage."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.as_strided(g, g.shape, g.stride(), 0) * x.cos()


def _in_memory(t: Tensor) -> Tensor:
    """The numbers in memory, as a kernel reads them by pointer and strides: a lazy conjugation or negation is
    missing."""
    found = torch.empty(0, dtype=t.dtype)
    return found.set_(t.untyped_storage(), t.storage_offset(), t.shape, t.stride())


class SineByStrides(Saved):
    """Reads the incoming gradient by pointer and strides, also where it is lazily negated."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return _in_memory(g) * x.cos()


class SquareByStrides(torch.autograd.Function):
    """z², which reads the incoming gradient by pointer and strides, also where it is lazily conjugated."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z * z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return _in_memory(g) * 2 * z.conj()


class SquareOfPlainGradients(SquareByStrides):
    """z², which gives no gradient where the incoming one is lazily conjugated."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return torch.zeros_like(z) if g.is_conj() else g * 2 * z.conj()


class SineWritingTheGradient(Saved):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.mul_(ctx.saved_tensors[0].cos())


class SineWritingTheGradientUnseen(SineWritingTheGradient):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        found = g * ctx.saved_tensors[0].cos()
        g.data.zero_()
        return found


class SineOfTheClass(torch.autograd.Function):
    last: Tensor

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        SineOfTheClass.last = x
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * SineOfTheClass.last.cos()


class SineByShape(torch.autograd.Function):
    """Keeps the last input of each shape on its class."""

    kept: ClassVar[dict[torch.Size, Tensor]] = {}

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        SineByShape.kept[x.shape] = x
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * SineByShape.kept[ctx.shape].cos()


class _SineOfAnother(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keeper: nn.Module) -> Tensor:
        ctx.keeper, keeper.kept = keeper, x.detach()
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g * ctx.keeper.kept.cos(), None


class KeptOnTheModule(nn.Module):
    """sin(E), with E an embedding of the input, or the input itself, kept on the module for the backward pass."""

    def __init__(self, generator: torch.Generator, embedded: bool) -> None:
        super().__init__()
        self.table = nn.Parameter(normal(generator, 5, 3)) if embedded else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _SineOfAnother.apply(x if self.table is None else self.table[x], self)
        return y


class Moments(torch.autograd.Function):
    """Mean and mean square, whose backward gives up where the first has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x.mean(-1), x.square().mean(-1)

    @staticmethod
    def backward(ctx: Any, first: Tensor | None, second: Tensor | None) -> Tensor | None:
        (x,) = ctx.saved_tensors
        if first is None:
            return None
        found = (first / x.shape[-1])[:, None].expand_as(x)
        return found if second is None else found + 2 * x * second[:, None] / x.shape[-1]


class ThreeMoments(torch.autograd.Function):
    """The same with a third, whose backward raises an error where only the first has none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x.sum(-1), x.square().sum(-1), x.pow(3).sum(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Tensor:
        (x,) = ctx.saved_tensors
        if gradients[0] is None and None not in gradients[1:]:
            raise ValueError("no gradient of the sum")
        slopes = (torch.ones_like(x), 2 * x, 3 * x.square())
        return sum(
            (s * g[:, None] for s, g in zip(slopes, gradients, strict=True) if g is not None), torch.zeros_like(x)
        )


class _BatchedSine(torch.autograd.Function):
    """sin, with a right backward pass, whose rules for vmap are wrong."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * ctx.saved_tensors[0].cos()


class TwiceInABatch(_BatchedSine):
    @staticmethod
    def vmap(info: Any, axes: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
        return 2 * TwiceInABatch.apply(x), axes[0]


class DetachedInABatch(_BatchedSine):
    @staticmethod
    def vmap(info: Any, axes: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
        return DetachedInABatch.apply(x.detach()), axes[0]


class FirstAxisInABatch(_BatchedSine):
    @staticmethod
    def vmap(info: Any, axes: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
        return FirstAxisInABatch.apply(x), 0
