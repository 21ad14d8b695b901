"""Why a module cannot be called: whether the call is wrong, or only float64."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nets.errors import InputError
from nets.text import one_line
from nets.verification.problem.copies import copied, copied_input


class OwnPrecisionError(InputError):
    """A module that can be called in the precision that it has, and not in float64."""


class OtherOutputsError(InputError):
    """A module that returns another number of outputs than it did at first."""

    def __init__(self, first: int, now: int) -> None:
        super().__init__(
            f"the module returns {now:,} numbers near its point and {first:,} at it; expected as many on all sides of it, where "
            "differences go: move the inputs, or select by a mask that multiplies."
        )
        self.first, self.now = first, now


def refusal(module: nn.Module, inputs: tuple[Any, ...], dtype: torch.dtype | None, error: Exception) -> InputError:
    """What to tell the caller about an error that a copy of the module has raised in the precision `dtype`."""
    signature = inspect.signature(module.forward)
    try:
        signature.bind(*inputs)
    except TypeError as mismatch:
        given = f"{len(inputs)} input{'' if len(inputs) == 1 else 's'}"
        return InputError(
            f"the module cannot be called with these inputs: its forward{signature} was given {given} ({one_line(mismatch)}); "
            "expected verify(module, *inputs) with the arguments that module(*inputs) takes."
        )
    own = _own_error(module, inputs) if dtype is not None else error
    if own is not None:
        shapes = [tuple(x.shape) for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)]
        return InputError(
            f"the module cannot be called with these inputs: {type(own).__name__}: {one_line(own)}; expected inputs that "
            f"module(*inputs) takes; the tensors given have the shapes {', '.join(map(str, shapes)) or 'of none'}."
        )
    return OwnPrecisionError(
        f"the module cannot be called with these inputs in float64, though it can in its own precision: {type(error).__name__}: "
        f"{one_line(error)}; expected copy.deepcopy(module).double() to work: make each tensor in it a parameter, a buffer or like "
        "its input, or verify it in its own precision with dtype='as is'."
    )


def _own_error(module: nn.Module, inputs: tuple[Any, ...]) -> Exception | None:
    """The error that the module raises as it stands; None where it raises none."""
    given = pytree.tree_map(lambda x: copied_input("input", x, None), inputs)
    for x, original in zip(pytree.tree_leaves(given), pytree.tree_leaves(inputs), strict=True):
        if isinstance(x, Tensor) and original.requires_grad:
            x.requires_grad_()
    try:
        with torch.enable_grad():
            copied(module, None)(*given)
    except Exception as error:  # a module may raise whatever it likes
        return error
    return None
