"""Backward passes that give the right gradient of one call by itself, and break what autograd asks of a backward besides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tests.building import Made, Make, normal

Shown = Callable[[nn.Module, tuple[Any, ...]], tuple[Tensor, Tensor]]
"""Of a module and its inputs: a gradient as it comes out where the fault shows, and the right one."""


@dataclass(frozen=True)
class BrokenContract:
    """A module whose gradient is right in one circumstance and wrong in another.

    Attributes:
        name: what is wrong, in words.
        make: the module and its inputs, in float64, drawn from a generator.
        shows: where the fault can be seen, without nets.
        words: what the report must say.
        order: that of the derivative, as `nets.verify` takes it.
    """

    name: str
    make: Make
    shows: Shown
    words: tuple[str, ...]
    order: int = 1

    def __str__(self) -> str:
        return self.name


class Applied(nn.Module):
    """function(X)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def applied(function: Callable[..., Any], *shape: int) -> Make:
    return lambda r: (Applied(function), (normal(r, *shape),))


def _raw(t: Tensor) -> Tensor:
    """The numbers in the order in which they lie in memory, as a kernel finds them that is handed a pointer and no strides."""
    return t if 0 in t.stride() else torch.as_strided(t, t.shape, torch.empty(t.shape).stride(), t.storage_offset())


class SquareByPointer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * _raw(x) * _raw(g)


class SineOfOneGradient(torch.autograd.Function):
    """Takes an expanded gradient for a scalar one: it reads the first number for all of a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (g.flatten()[0] if 0 in g.stride() else g) * x.cos()


class SineOfAView(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (g.view(-1) * x.cos().reshape(-1)).view(x.shape)


class SineFromStorage(torch.autograd.Function):
    """Reads the gradient from the beginning of its storage."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.as_strided(g, g.shape, g.stride(), 0) * x.cos()


class SineWritingTheGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

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
        return sum((s * g[:, None] for s, g in zip(slopes, gradients, strict=True) if g is not None), torch.zeros_like(x))


def _leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()


def incoming(lay: Callable[[Tensor], Tensor]) -> Shown:
    """The gradient of the input for an incoming gradient of that layout."""

    def shows(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        x = _leaf(inputs[0])
        y = module(x)
        v = lay(torch.arange(1.0, y.numel() + 1, dtype=torch.float64).view(y.shape))
        (right,) = torch.autograd.grad(module(x), x, v.contiguous().clone())
        try:
            (found,) = torch.autograd.grad(y, x, v)
        except RuntimeError:
            found = torch.full_like(right, torch.nan)
        return found, right

    return shows


def skipped(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """Of x + sin x."""
    x = _leaf(inputs[0])
    t = x * 1
    weights = torch.arange(1.0, x.numel() + 1, dtype=torch.float64).view(x.shape)
    ((t + module(t)) * weights).sum().backward()
    assert x.grad is not None
    return x.grad, (1 + x.detach().cos()) * weights


def twice(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """Two calls in one loss: the gradient of the first."""
    given = inputs[0] if inputs[0].is_floating_point() else inputs[0].flip(0)
    points = [_leaf(given), _leaf(1.1 * given)] if given.is_floating_point() else [given, given.flip(0)]
    outputs = [module(x) for x in points]
    leaf = points[0] if given.is_floating_point() else next(module.parameters())
    (found,) = torch.autograd.grad(outputs[0].sum() + 0 * outputs[1].sum(), leaf, retain_graph=True)
    (right,) = torch.autograd.grad(module(points[0]).sum(), leaf)
    return found, right


def alone(*used: int) -> Shown:
    """Some of the outputs in a loss that knows nothing of the others."""

    def shows(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        x = _leaf(inputs[0])
        (right,) = torch.autograd.grad(sum(y.sum() if i in used else 0 * y.sum() for i, y in enumerate(module(x))), x)
        try:
            (found,) = torch.autograd.grad(sum(y.sum() for i, y in enumerate(module(x)) if i in used), x, materialize_grads=True)
        except ValueError:
            found = torch.full_like(right, torch.nan)
        return found, right

    return shows


def _of(module: type[nn.Module], embedded: bool) -> Make:
    def make(generator: torch.Generator) -> Made:
        x = torch.tensor([0, 3, 1]) if embedded else normal(generator, 2, 3)
        return module(generator, embedded), (x,)

    return make


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


def batched(axis: int) -> Shown:
    """A backward pass through calls that are batched along that axis, and through single ones."""

    def shows(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        points = torch.stack([inputs[0], 1.1 * inputs[0]], axis).requires_grad_()
        weights = torch.arange(1.0, points.numel() + 1, dtype=torch.float64).view(2, *inputs[0].shape)
        (right,) = torch.autograd.grad((torch.stack([module(x) for x in points.unbind(axis)]) * weights).sum(), points)
        total = (torch.func.vmap(module, in_dims=axis)(points) * weights).sum() + 0 * points.sum()
        (found,) = torch.autograd.grad(total, points)
        return found, right

    return shows


TRANSPOSED, EXPANDED = incoming(lambda v: v.mT.contiguous().mT), incoming(lambda v: v[:1].expand(v.shape))

CONTRACTS = [
    BrokenContract(
        "layout: the incoming gradient read by its pointer",
        applied(SquareByPointer.apply, 3, 2),
        TRANSPOSED,
        ("wrong derivative where the incoming gradient is transposed (strides (1, 3))",),
    ),
    BrokenContract(
        "layout: the first two axes of the incoming gradient swapped",
        applied(SquareByPointer.apply, 2, 3, 4),
        incoming(lambda v: v.transpose(0, 1).contiguous().transpose(0, 1)),
        ("wrong derivative where the incoming gradient is",),
    ),
    BrokenContract(
        "layout: one number taken for all that are expanded",
        applied(SineOfOneGradient.apply, 3, 2),
        EXPANDED,
        ("wrong derivative where the incoming gradient is expanded along its first axis (strides (0, 1))",),
    ),
    BrokenContract(
        "layout: a view of the incoming gradient that need not exist",
        applied(SineOfAView.apply, 3, 2),
        TRANSPOSED,
        ("the backward pass raises RuntimeError", "where the incoming gradient is transposed"),
    ),
    BrokenContract(
        "layout: the storage offset forgotten",
        applied(SineFromStorage.apply, 3, 2),
        incoming(lambda v: torch.cat([v.new_zeros(3), v.flatten()])[3:].view(v.shape)),
        ("wrong derivative where the incoming gradient is",),
    ),
    BrokenContract(
        "writes into the incoming gradient",
        applied(SineWritingTheGradient.apply, 2, 3),
        skipped,
        ("SineWritingTheGradient.backward writes into grad_output",),
    ),
    BrokenContract(
        "writes into the incoming gradient through .data",
        applied(SineWritingTheGradientUnseen.apply, 2, 3),
        skipped,
        ("SineWritingTheGradientUnseen.backward writes into grad_output",),
    ),
    BrokenContract(
        "kept on the class",
        applied(SineOfTheClass.apply, 2, 3),
        twice,
        ("two calls before a backward", "on the class"),
    ),
    BrokenContract(
        "kept on the class by its shape", applied(SineByShape.apply, 2, 3), twice, ("two calls before a backward", "on the class")
    ),
    BrokenContract("kept on the module", _of(KeptOnTheModule, False), twice, ("two calls before a backward", "on the module")),
    BrokenContract(
        "kept on the module, with indices as input", _of(KeptOnTheModule, True), twice, ("two calls before a backward",)
    ),
    BrokenContract(
        "gives up where one gradient is missing",
        applied(Moments.apply, 2, 3),
        alone(1),
        ("the gradient that arrives at Y[0] is None", "uses Y[1] alone"),
    ),
    BrokenContract(
        "raises where one gradient is missing",
        applied(ThreeMoments.apply, 2, 3),
        alone(1, 2),
        ("raises ValueError: no gradient of the sum", "the gradient that arrives at Y[0] is None"),
    ),
    *(
        BrokenContract(
            f"rule for vmap: {mistake}", applied(function.apply, 2, 2), batched(axis), (f"wrong vmap rule of {function.__name__}",)
        )
        for mistake, function, axis in (
            ("a value of its own", TwiceInABatch, 0),
            ("detached", DetachedInABatch, 0),
            ("the axis taken for the first", FirstAxisInABatch, 2),
        )
    ),
]
