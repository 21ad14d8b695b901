"""Recorded operations without those that need not be repeated.

A layer's pullback and gradients often compute anew what its forward pass has computed already, so that each can be read
by itself. A recording computes it once.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nets.torch_internals import memory, pytree
from nets.training.replay.kernels import Operation, tensors
from nets.training.replay.layouts import without_copies

aten = torch.ops.aten

SHAPE_ALONE = {
    aten.empty_like.default,
    aten.new_empty.default,
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.full_like.default,
    aten.new_zeros.default,
    aten.new_ones.default,
    aten.new_full.default,
}
"""Operations that read the shape of a tensor, and no number of it."""


class Simplified(NamedTuple):
    """What is left of a recording.

    Attributes:
        operations: those to repeat, in order. Their arguments are results of others, constants or tensors from outside.
        constants: the numbers of each address of a tensor that depends on nothing from outside; they stay as they are.
        result: the result of the function, of these tensors.
    """

    operations: list[Operation]
    constants: set[int]
    result: Any


def simplified(operations: list[Operation], result: Any) -> Simplified:
    """The operations that `result` depends on, each different one once, without those whose result never changes."""
    written = {memory(tensor) for operation in operations for tensor in operation.written}
    returned = {memory(tensor) for tensor in tensors(result)}
    same: dict[int, Tensor] = {}
    constants: set[int] = set()
    first: dict[Any, Operation] = {}
    left = []

    def known(tree: Any) -> Any:
        return pytree.tree_map_only(Tensor, lambda tensor: same.get(id(tensor), tensor), tree)

    for operation in operations:
        operation = operation._replace(args=known(operation.args), kwargs=known(operation.kwargs))
        read, made = tensors((operation.args, operation.kwargs)), tensors(operation.result)
        changes = any(memory(tensor) in written for tensor in (*read, *made))
        if not changes and not any(memory(tensor) in returned for tensor in made):
            earlier = first.setdefault(key_of(operation), operation)
            if earlier is not operation:
                same |= {id(one): other for one, other in zip(made, tensors(earlier.result), strict=True)}
                continue
            if operation.views and memory(read[0]) != memory(made[0]):
                # It was a view of a result that is left out, and becomes one of the result in its place.
                with torch.no_grad():
                    operation = operation._replace(result=operation.function(*operation.args, **operation.kwargs))
                first[key_of(operation)] = operation
                same |= {id(one): other for one, other in zip(made, tensors(operation.result), strict=True)}
                made = tensors(operation.result)
            if operation.function in SHAPE_ALONE or all(id(tensor) in constants for tensor in read):
                constants |= {id(tensor) for tensor in made}
                continue
        left.append(operation)
    return Simplified(without_copies(_needed(left, returned), returned), constants, known(result))


def key_of(operation: Operation) -> Any:
    """Equal for two operations that compute the same from the same tensors."""
    leaves, structure = pytree.tree_flatten((operation.args, operation.kwargs))
    named = [("tensor", id(leaf)) if isinstance(leaf, Tensor) else (type(leaf), repr(leaf)) for leaf in leaves]
    return operation.function, tuple(named), str(structure)


def _needed(operations: list[Operation], returned: set[int]) -> list[Operation]:
    """The operations that write to memory which the result, or a later one of them, reads."""
    read = set(returned)
    found = []
    for operation in reversed(operations):
        if any(memory(tensor) in read for tensor in (*tensors(operation.result), *operation.written)):
            found.append(operation)
            read |= {memory(tensor) for tensor in tensors((operation.args, operation.kwargs))}
    return found[::-1]
