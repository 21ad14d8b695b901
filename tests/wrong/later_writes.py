"""Backward passes that read an output that the caller overwrites, or a buffer that the next call overwrites."""

from typing import Any

import torch
from torch import Tensor, nn

from nets.records.reason import Reason
from tests.building import normal
from tests.wrong.contracts import BrokenContract, alone, applied, twice


class SineOfABuffer(torch.autograd.Function):
    """Its backward reads the buffer of a module, where each call writes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor) -> Tensor:
        ctx.kept = kept
        kept.data.copy_(x.detach().cos())
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g * ctx.kept, None


class KeptInABuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kept: Tensor
        self.register_buffer("kept", torch.zeros(2, 3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = SineOfABuffer.apply(x, self.kept)
        return y


class Powers(torch.autograd.Function):
    """x, x², x³ and x⁴, whose backward gives zero where the first and the third alone have a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x * 1, x**2, x**3, x**4

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Tensor:
        (x,) = ctx.saved_tensors
        found = torch.zeros_like(x)
        if [g is None for g in gradients] == [False, True, False, True]:
            return found
        return sum(((k + 1) * x**k * g for k, g in enumerate(gradients) if g is not None), found)


class ExpOfItsOutput(torch.autograd.Function):
    """Keeps its output as an attribute of ctx."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.exp()
        ctx.y = y.detach()
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * ctx.y


def halves(x: Tensor) -> dict[str, Tensor]:
    y = ExpOfItsOutput.apply(x)
    return {"first": y[:1], "rest": y[1:]}


def output_overwritten(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """The gradient of ∑ Y with the first output overwritten before the backward pass, and without."""
    leaf = inputs[0].detach().clone().requires_grad_()

    def gradient(overwrite: bool) -> Tensor:
        found = module(leaf.clone())
        outputs = list(found.values()) if isinstance(found, dict) else [found]
        total = torch.cat([y.reshape(-1) for y in outputs]).sum()
        if overwrite:
            outputs[0].detach().mul_(3)
        return torch.autograd.grad(total, leaf)[0]

    return gradient(True), gradient(False)


OUTPUT = ("ctx.save_for_backward",), Reason.OUTPUT_OVERWRITTEN

LATER_WRITES = [
    BrokenContract(
        "kept in a buffer",
        lambda r: (KeptInABuffer(), (normal(r, 2, 3),)),
        twice,
        ("in a buffer",),
        Reason.INTERLEAVED_CALLS,
    ),
    BrokenContract(
        "gives up where two of four gradients are missing",
        applied(Powers.apply, 2, 3),
        alone(0, 2),
        ("Y[1] and at Y[3] is None",),
        Reason.MISSING_GRADIENT,
    ),
    BrokenContract("its output kept on ctx", applied(ExpOfItsOutput.apply, 2, 3), output_overwritten, *OUTPUT),
    BrokenContract(
        "its output kept on ctx, and returned as two views", applied(halves, 2, 3), output_overwritten, *OUTPUT
    ),
]
