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
    expected = "module(input), module(*input) for a tuple or a list, or module(**input) for a dict to run"
    return _error(raised, everywhere, expected, "make its constants with dtype=x.dtype")


def loss_error(error: Exception, everywhere: bool) -> InputError:
    """The error to raise for a loss that raises; `everywhere` if it raises in the module's own precision, too."""
    expected = "loss(output, target) to be a scalar for the module's output and the target of each micro-batch"
    remedy = "make a loss that has tensors of its own, such as weights, a module, so that they are cast too"
    return _error(f"the loss raises {_described(error)}", everywhere, expected, remedy)


def backward_error(error: Exception) -> InputError:
    """The error to raise for a backward pass that raises, outside the loop that is checked."""
    return InputError(
        f"the backward pass of module and loss raises {_described(error)}; expected loss(module(input), "
        "target).backward() to run: write to no tensor that the backward pass still needs."
    )


def closure_error(error: Exception, everywhere: bool) -> InputError:
    """The error to raise for a loop that raises; `everywhere` if it raises in the module's own precision, too."""
    expected = "closure(module, loss, micro_batches) to run over these micro-batches and to leave its gradient in .grad"
    remedy = "cast nothing to another dtype, and use the module, loss and micro-batches that are passed to it"
    return _error(f"the closure raises {_described(error)}", everywhere, expected, remedy)


def _error(raised: str, everywhere: bool, expected: str, remedy: str) -> InputError:
    if everywhere:
        return InputError(f"{raised}; expected {expected}.")
    return InputError(
        f"{raised} in double precision, and not in its own; expected {expected}, in both precisions: {remedy}."
    )


def _described(error: Exception) -> str:
    return f"{type(error).__name__} ({one_line(error)})"
