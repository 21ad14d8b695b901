"""Why a module cannot be called, in one sentence: the arguments do not fit, or the call fails in float64 alone."""

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn

from nets.calculus.checks import checked_trace
from nets.calculus.network import Network
from nets.errors import InputError
from nets.text import one_line
from nets.torch_internals import pytree
from nets.verification.attempt import Unavailable, attempt
from nets.verification.problem.copies import copied, copied_input


class OwnPrecisionError(InputError):
    """A module that can be called in its own precision, and not in float64."""


class OtherOutputsError(InputError):
    """A module that returns another number of outputs than in its first call.

    Attributes:
        first: how many numbers the first call returned.
        now: how many this call returned.
    """

    def __init__(self, first: int, now: int) -> None:
        super().__init__(
            f"the module returns {now:,} numbers near its point and {first:,} at it; expected the same number on all "
            "sides of the point, where differences are taken: move the inputs, or select by a mask that multiplies."
        )
        self.first, self.now = first, now


def first_call_error(
    module: nn.Module, inputs: tuple[Any, ...], dtype: torch.dtype | None, error: Exception
) -> InputError:
    """The error to raise where the first call of a copy in the precision `dtype` has raised `error`."""
    signature = inspect.signature(module.forward)
    try:
        signature.bind(*inputs)
    except TypeError as mismatch:
        given = f"{len(inputs)} input{'' if len(inputs) == 1 else 's'}"
        return InputError(
            f"the module cannot be called with these inputs: its forward{signature} was given {given} "
            f"({one_line(mismatch)}); expected verify(module, *inputs) with the arguments that module(*inputs) takes."
        )
    own = _own_error(module, inputs) if dtype is not None else error
    if own is not None:
        shapes = [tuple(x.shape) for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)]
        return InputError(
            f"the module cannot be called with these inputs: {type(own).__name__}: {one_line(own)}; expected inputs "
            f"that module(*inputs) takes; the tensors given have the shapes {', '.join(map(str, shapes)) or 'of none'}."
        )
    layer = layer_error(module, inputs, dtype)
    why = f"{type(error).__name__}: {one_line(error)}" if layer is None else str(layer).removesuffix(".")
    return OwnPrecisionError(
        "the module cannot be called with these inputs in float64, though it can in its own precision: "
        f"{why}; expected copy.deepcopy(module).double() to work: make each tensor in it a parameter or a buffer, or "
        "give it the dtype of the input, or verify the module in its own precision with dtype='as is'."
    )


def later_call_error(error: Exception) -> InputError:
    """The error to raise where a call near the point has raised `error`."""
    return InputError(
        f"the module cannot be called near its point ({type(error).__name__}: {one_line(error)}); expected it to be "
        "defined on all sides of the point, where differences are taken: move the inputs, or let only those require "
        "a gradient that may be moved."
    )


def recorded_call_error(error: Exception) -> InputError:
    """The error to raise where a call with inputs that require a gradient has raised `error`."""
    return InputError(
        f"the module cannot be called where its inputs require a gradient ({one_line(error)}): set requires_grad on "
        "only those inputs that are to be differentiated by."
    )


def layer_error(module: nn.Module, inputs: tuple[Any, ...], dtype: torch.dtype | None) -> InputError | None:
    """The error that names the layer of a `Network` whose forward fails or does not fit; None if there is none.

    Args:
        dtype: the precision of the copy that is called.
    """
    if not isinstance(module, Network) or len(inputs) != 1 or not isinstance(inputs[0], Tensor):
        return None
    x = inputs[0]
    found = attempt(lambda: checked_trace(cast("Network", copied(module, dtype)), copied_input("input", x, dtype)))
    return found.error if isinstance(found, Unavailable) and isinstance(found.error, InputError) else None


def _own_error(module: nn.Module, inputs: tuple[Any, ...]) -> Exception | None:
    """The error that the module raises in its own precision; None where it raises none."""
    given = pytree.tree_map(lambda x: copied_input("input", x, None), inputs)
    for x, original in zip(pytree.tree_leaves(given), pytree.tree_leaves(inputs), strict=True):
        if isinstance(x, Tensor) and original.requires_grad:
            x.requires_grad_()
    with torch.enable_grad():
        found = attempt(lambda: copied(module, None)(*given))
    return found.error if isinstance(found, Unavailable) else None
