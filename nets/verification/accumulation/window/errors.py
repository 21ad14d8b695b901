"""Why a module, a loss or a loop cannot be called, in one sentence."""

from typing import Any

from nets.errors import InputError
from nets.text import one_line
from nets.verification.accumulation.window.concatenation import different_shapes


def module_error(error: Exception, number: int, inputs: list[Any], everywhere: bool) -> InputError:
    """The error to raise for a module that raises.

    Args:
        error: what it raised.
        number: of the micro-batch, from 1.
        inputs: those of all micro-batches.
        everywhere: whether the module raises in its own precision, too.
    """
    raised = f"the module raises {_described(error)} for micro-batch {number}"
    shapes = different_shapes(inputs)
    if shapes:
        return InputError(
            f"{raised}, and the micro-batches have shapes such as {shapes[0]} and {shapes[1]}; expected inputs that "
            "the module takes: tensors that differ in their first axis alone, such as sequences that are padded to "
            "one length."
        )
    if everywhere:
        return InputError(
            f"{raised}; expected an input that it takes: module(input), module(*input) where the input is a tuple or "
            "a list, module(**input) where it is a dict."
        )
    return InputError(
        f"{raised} in double precision, and not in its own; expected one that runs in both: make its constants with "
        "dtype=x.dtype."
    )


def loss_error(error: Exception, everywhere: bool) -> InputError:
    """The error to raise for a loss that raises; `everywhere` if it also raises in the module's own precision."""
    raised = f"the loss raises {_described(error)}"
    if everywhere:
        return InputError(
            f"{raised}; expected loss(output, target) to be a scalar for the module's output and the target of each "
            "micro-batch."
        )
    return InputError(
        f"{raised} in double precision, and not in the module's own; expected loss(output, target) to be a scalar in "
        "both: make a loss that has tensors of its own, such as weights, a module, so that they are cast too."
    )


def backward_error(error: Exception) -> InputError:
    """The error to raise for a backward pass that raises, outside the loop that is checked."""
    return InputError(
        f"the backward pass of module and loss raises {_described(error)}; expected loss(module(input), "
        "target).backward() to run: write to no tensor that the backward pass still needs."
    )


def closure_error(error: Exception, everywhere: bool) -> InputError:
    """The error to raise for a loop that raises; `everywhere` if it also raises in the module's own precision."""
    raised = f"the closure raises {_described(error)}"
    if everywhere:
        return InputError(
            f"{raised}; expected closure(module, loss, micro_batches) to run over these micro-batches and to leave "
            "its gradient in .grad."
        )
    return InputError(
        f"{raised} in double precision, and not in the module's own; expected closure(module, loss, micro_batches) to "
        "run in both: cast nothing to another dtype, and use the module, loss and micro-batches that are passed to "
        "it."
    )


def _described(error: Exception) -> str:
    return f"{type(error).__name__} ({one_line(error)})"
