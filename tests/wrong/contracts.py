"""Backward passes that give the right gradient of one call by itself, and break another rule of autograd."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nets.records.reason import Reason
from tests.building import Made, Make, normal
from tests.wrong.functions import (
    DetachedInABatch,
    FirstAxisInABatch,
    KeptOnTheModule,
    Moments,
    SineByShape,
    SineByStrides,
    SineFromStorage,
    SineOfAView,
    SineOfOneGradient,
    SineOfTheClass,
    SineWritingTheGradient,
    SineWritingTheGradientUnseen,
    SquareByPointer,
    SquareByStrides,
    SquareOfPlainGradients,
    ThreeMoments,
    TwiceInABatch,
)

Shown = Callable[[nn.Module, tuple[Any, ...]], tuple[Tensor, Tensor]]
"""(module, inputs) → the gradient where the fault shows, and the right gradient."""


@dataclass(frozen=True)
class BrokenContract:
    """A module whose gradient is right in one circumstance and wrong in another.

    Attributes:
        name: what is wrong, in words.
        make: the module and its inputs, in float64, drawn from a generator.
        shows: where the fault can be seen, without nets.
        facts: texts that the sentence must contain.
        reason: the reason of the failed checks.
        order: that of the derivative, as `nets.verify` takes it.
    """

    name: str
    make: Make
    shows: Shown
    facts: tuple[str, ...]
    reason: Reason
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


def _leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()


def incoming(lay: Callable[[Tensor], Tensor]) -> Shown:
    """The gradient of the input for an incoming gradient of that layout."""

    def shows(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        x = _leaf(inputs[0])
        y = module(x)
        v = lay(torch.arange(1.0, y.numel() + 1, dtype=torch.float64).view(y.shape))
        (right,) = torch.autograd.grad(module(x), x, v.resolve_neg().contiguous().clone())
        try:
            (found,) = torch.autograd.grad(y, x, v)
        except RuntimeError:
            found = torch.full_like(right, torch.nan)
        return found, right

    return shows


def conjugated(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """The gradient of the input for an incoming gradient that is lazily conjugated, as real numbers."""
    z = _leaf(inputs[0])
    v = torch.complex(z.detach().real + 1, z.detach().imag + 2)
    found, right = (torch.autograd.grad(module(z), z, incoming)[0] for incoming in (v.conj(), v.conj().resolve_conj()))
    return torch.view_as_real(found.resolve_conj()), torch.view_as_real(right.resolve_conj())


def skipped(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """The gradient of x + sin x, where x has two users."""
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
    """A loss of some of the outputs alone."""

    def shows(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        x = _leaf(inputs[0])
        (right,) = torch.autograd.grad(sum(y.sum() if i in used else 0 * y.sum() for i, y in enumerate(module(x))), x)
        try:
            (found,) = torch.autograd.grad(
                sum(y.sum() for i, y in enumerate(module(x)) if i in used), x, materialize_grads=True
            )
        except ValueError:
            found = torch.full_like(right, torch.nan)
        return found, right

    return shows


def _of(module: type[nn.Module], embedded: bool) -> Make:
    def make(generator: torch.Generator) -> Made:
        x = torch.tensor([0, 3, 1]) if embedded else normal(generator, 2, 3)
        return module(generator, embedded), (x,)

    return make


def batched(axis: int) -> Shown:
    """A backward pass through calls that are batched along that axis, and through single calls."""

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
        ("transposed (strides (1, 3))",),
        Reason.INCOMING_LAYOUT,
    ),
    BrokenContract(
        "layout: the first two axes of the incoming gradient swapped",
        applied(SquareByPointer.apply, 2, 3, 4),
        incoming(lambda v: v.transpose(0, 1).contiguous().transpose(0, 1)),
        (),
        Reason.INCOMING_LAYOUT,
    ),
    BrokenContract(
        "layout: one number taken for all that are expanded",
        applied(SineOfOneGradient.apply, 3, 2),
        EXPANDED,
        ("expanded along its first axis (strides (0, 1))",),
        Reason.INCOMING_LAYOUT,
    ),
    BrokenContract(
        "layout: a view of the incoming gradient that need not exist",
        applied(SineOfAView.apply, 3, 2),
        TRANSPOSED,
        ("raises RuntimeError", "transposed"),
        Reason.INCOMING_LAYOUT,
    ),
    BrokenContract(
        "layout: the storage offset forgotten",
        applied(SineFromStorage.apply, 3, 2),
        incoming(lambda v: torch.cat([v.new_zeros(3), v.flatten()])[3:].view(v.shape)),
        (),
        Reason.INCOMING_LAYOUT,
    ),
    BrokenContract(
        "layout: the lazy negation of the incoming gradient forgotten",
        applied(SineByStrides.apply, 3, 2),
        incoming(lambda v: torch.complex(torch.zeros_like(v), -v).conj().imag),
        ("lazily negated",),
        Reason.INCOMING_LAYOUT,
    ),
    *(
        BrokenContract(
            f"layout: the lazy conjugation of the incoming gradient {mistake}",
            lambda r, function=function: (
                Applied(function),
                (torch.complex(normal(r, 3, 2), normal(r, 3, 2)),),
            ),
            conjugated,
            ("lazily conjugated",),
            Reason.INCOMING_LAYOUT,
        )
        for mistake, function in (
            ("forgotten", SquareByStrides.apply),
            ("taken for no gradient", SquareOfPlainGradients.apply),
        )
    ),
    BrokenContract(
        "writes into the incoming gradient",
        applied(SineWritingTheGradient.apply, 2, 3),
        skipped,
        ("SineWritingTheGradient.backward",),
        Reason.WRITES_INTO_COTANGENT,
    ),
    BrokenContract(
        "writes into the incoming gradient through .data",
        applied(SineWritingTheGradientUnseen.apply, 2, 3),
        skipped,
        ("SineWritingTheGradientUnseen.backward",),
        Reason.WRITES_INTO_COTANGENT,
    ),
    BrokenContract(
        "kept on the class",
        applied(SineOfTheClass.apply, 2, 3),
        twice,
        ("on the class",),
        Reason.INTERLEAVED_CALLS,
    ),
    BrokenContract(
        "kept on the class by its shape",
        applied(SineByShape.apply, 2, 3),
        twice,
        ("on the class",),
        Reason.INTERLEAVED_CALLS,
    ),
    BrokenContract(
        "kept on the module", _of(KeptOnTheModule, False), twice, ("on the module",), Reason.INTERLEAVED_CALLS
    ),
    BrokenContract(
        "kept on the module, with indices as input", _of(KeptOnTheModule, True), twice, (), Reason.INTERLEAVED_CALLS
    ),
    BrokenContract(
        "gives up where one gradient is missing",
        applied(Moments.apply, 2, 3),
        alone(1),
        ("Y[0] is None", "Y[1] alone"),
        Reason.MISSING_GRADIENT,
    ),
    BrokenContract(
        "raises where one gradient is missing",
        applied(ThreeMoments.apply, 2, 3),
        alone(1, 2),
        ("raises ValueError: no gradient of the sum", "Y[0] is None"),
        Reason.MISSING_GRADIENT,
    ),
    *(
        BrokenContract(
            f"rule for vmap: {mistake}",
            applied(function.apply, 2, 2),
            batched(axis),
            (function.__name__,),
            Reason.WRONG_VMAP_RULE,
        )
        for mistake, function, axis in (
            ("a value of its own", TwiceInABatch, 0),
            ("detached", DetachedInABatch, 0),
            ("the axis taken for the first", FirstAxisInABatch, 2),
        )
    ),
]
