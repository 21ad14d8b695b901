"""What cannot be checked of a loop, in a sentence: what was raised, where, and what would run."""

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from nets.errors import InputError
from nets.text import one_line


def of_the_module(error: Exception, which: str, inputs: list[Any], everywhere: bool) -> InputError:
    """A module that raises.

    Args:
        error: what it raises.
        which: the micro-batch.
        inputs: those of all micro-batches.
        everywhere: whether it raises in its own precision, too.
    """
    pair = _apart(inputs)
    if pair:
        return InputError(
            f"the module raises {_said(error)} for {which}, and the micro-batches have shapes such as {pair}; expected inputs that "
            "the module takes: tensors that differ in their first axis alone, such as sequences that you pad to one length."
        )
    if everywhere:
        return InputError(
            f"the module raises {_said(error)} for {which}; expected an input that it takes: module(input), "
            "module(*input) where it is a tuple or a list, module(**input) where it is a dict."
        )
    return InputError(
        f"the module raises {_said(error)} for {which} in double precision, and not in its own; expected one that runs in both: "
        "make its constants with dtype=x.dtype."
    )


def of_the_loss(error: Exception, everywhere: bool) -> InputError:
    """A loss that raises."""
    if everywhere:
        return InputError(
            f"the loss raises {_said(error)}; expected loss(output, target) to be a scalar for the module's output and the "
            "target of each micro-batch."
        )
    return InputError(
        f"the loss raises {_said(error)} in double precision, and not in the module's own; expected loss(output, target) to be a "
        "scalar in both: give a loss that has numbers of its own (weights, say) as a module, so that they are cast too."
    )


def of_the_backward(error: Exception) -> InputError:
    """A backward pass that raises, outside of the loop that is checked."""
    return InputError(
        f"the backward pass of module and loss raises {_said(error)}; expected loss(module(input), target).backward() to run: "
        "write to no tensor that it still needs."
    )


def of_the_closure(error: Exception, everywhere: bool) -> InputError:
    """A loop that raises."""
    if everywhere:
        return InputError(
            f"the closure raises {_said(error)}; expected closure(module, loss, micro_batches) to run through these micro-batches "
            "and to leave its gradient in .grad."
        )
    return InputError(
        f"the closure raises {_said(error)} in double precision, and not in the module's own; expected closure(module, loss, "
        "micro_batches) to run in both: cast nothing to another dtype, and take all that it needs from its arguments."
    )


def _said(error: Exception) -> str:
    return f"{type(error).__name__} ({one_line(error)})"


def _apart(inputs: list[Any]) -> str:
    """Two shapes at the same place of two micro-batches that differ beyond the first axis."""
    for leaves in zip(*map(pytree.tree_leaves, inputs), strict=False):
        shapes = [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]
        for shape in shapes[1:]:
            if shape[1:] != shapes[0][1:]:
                return f"{shapes[0]} and {shape}"
    return ""
