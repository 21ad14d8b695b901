"""Modules whose backward is right and whose forward mode is wrong.

They pass with a note, and fail where forward mode is required.
"""

import torch
from torch import Tensor, nn

from tests.building import Written, built, normal, shaped
from tests.wrong.forward_modules import CustomOperator, Forces
from tests.wrong.modules import WrongForwardMode
from tests.wrong.record import WrongBackward


class _Scaled(torch.autograd.Function):
    """sin, whose forward mode is a thousandth off."""

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return z.sin()

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, upstream: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return upstream * z.cos()

    @staticmethod
    def jvp(ctx: torch.autograd.function.FunctionCtx, tangent: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return tangent * z.cos() * 1.001


WITNESSES = [
    WrongBackward(
        "tanh: forward mode forgets the square",
        lambda r: (Written(lambda m, x: WrongForwardMode.apply(x)), (normal(r, 3, 4),)),
        shows="forward mode",
        parameter="input",
    ),
    WrongBackward(
        "sin: forward mode a thousandth off",
        lambda r: (Written(lambda m, x: _Scaled.apply(x)), (normal(r, 3, 4),)),
        shows="forward mode",
        parameter="input",
    ),
    WrongBackward(
        "operator of torch.library without forward mode",
        built(lambda: CustomOperator(4, 3), shaped(2, 4)),
        shows="forward mode",
    ),
    WrongBackward(
        "operator of torch.library without forward mode: probed",
        built(lambda: CustomOperator(80, 70), shaped(2, 80)),
        shows="forward mode",
    ),
    WrongBackward(
        "forces: the input detached",
        lambda r: (Forces(r), (normal(r, 2, 3),)),
        shows="forward mode",
        parameter="input",
    ),
    WrongBackward(
        "logcumsumexp: PyTorch's own forward mode",
        lambda r: (Written(lambda m, x: x.logcumsumexp(0)), (torch.stack([-400 + normal(r, 3), 401 + normal(r, 3)]),)),
        shows="forward mode",
        parameter="input",
    ),
    WrongBackward(
        "forces of a layer's output: its tangent detached",
        lambda r: (nn.Sequential(built(lambda: nn.Linear(3, 3))(r)[0], Forces(r)), (normal(r, 2, 3),)),
        shows="forward mode",
    ),
]
