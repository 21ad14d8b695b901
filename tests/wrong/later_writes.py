"""Backward passes that read an output of the call, and do not let autograd notice when the caller writes into it."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.wrong.contracts import BrokenContract, applied


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


OUTPUT = ("where its output is overwritten in place after the call", "ctx.save_for_backward")

LATER_WRITES = [
    BrokenContract("its output kept on ctx", applied(ExpOfItsOutput.apply, 2, 3), output_overwritten, OUTPUT),
    BrokenContract("its output kept on ctx, and returned as two views", applied(halves, 2, 3), output_overwritten, OUTPUT),
]
