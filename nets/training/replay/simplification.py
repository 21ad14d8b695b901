"""Recorded operations without those that need not be repeated.

A layer's pullback and gradients often compute anew what its forward pass has computed already, so that each can be read
by itself, and a layer made of layers computes values between its parts many times over. Here equal operations become
one.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nets.torch_internals import memory, pytree
from nets.training.replay.layouts import without_copies
from nets.training.replay.operation import Operation, Value, tensors, values
from nets.training.replay.scheduling import scheduled

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
    """What is left of a recording. Tensors on PyTorch's device `meta`, which have no memory, stand for its values.

    Attributes:
        constants: operations that depend on nothing from outside, to be done once, in order.
        operations: those to repeat, in order. Their arguments are results of others, of constants, or tensors from
            outside.
        result: the result of the function, of these tensors.
    """

    constants: list[Operation]
    operations: list[Operation]
    result: Any


def simplified(operations: list[Operation], result: Any) -> Simplified:
    """The operations that `result` depends on, each different one once, without those whose result never changes.

    Args:
        operations: with a `Value` for each tensor that one of them makes.
        result: of the function, likewise.
    """
    merged = _Merged(operations, {value.memory for value in values(result) if value.memory is not None})
    result = _separated(merged.known(result), merged.repeated)
    returned = {memory(tensor) for tensor in tensors(result)}
    left = scheduled(without_copies(_needed(merged.repeated, returned), returned), returned)
    return Simplified(merged.constants, left, result)


class _Merged:
    """Operations of which each different one is there once, between tensors that stand in for values.

    Args:
        operations, returned: what is recorded, and the memory of its result.

    Attributes:
        constants, repeated: see `Simplified`.
    """

    def __init__(self, operations: list[Operation], returned: set[int]) -> None:
        self.constants: list[Operation] = []
        self.repeated: list[Operation] = []
        self._stand_ins: dict[int, Tensor] = {}
        self._first: dict[Any, Operation] = {}
        self._unchanging: set[int] = set()
        written = {value.memory for operation in operations for value in operation.written}
        for operation in operations:
            made = {value.memory for value in values(operation.result)}
            read = {value.memory for value in values((operation.args, operation.kwargs))}
            self._add(operation, not written.isdisjoint(made | read), not returned.isdisjoint(made))

    def known(self, tree: Any) -> Any:
        """The same with a tensor for each value."""
        return pytree.tree_map_only(Value, lambda value: self._stand_ins[id(value)], tree)

    def _add(self, operation: Operation, changes: bool, returned: bool) -> None:
        """Add an operation.

        Args:
            operation: between values.
            changes: whether anything is written to what it reads or makes.
            returned: whether it makes a result of the function.
        """
        placed = operation._replace(args=self.known(operation.args), kwargs=self.known(operation.kwargs))
        key = _key_of(placed)
        first = None if changes or returned else self._first.get(key)
        if first is None:
            first = placed._replace(result=self._result(placed, operation.result))
            if not changes:
                self._first.setdefault(key, first)
            read = tensors((placed.args, placed.kwargs))
            constant = placed.function in SHAPE_ALONE or all(id(tensor) in self._unchanging for tensor in read)
            if constant and not (changes or returned):
                self._unchanging |= {id(tensor) for tensor in tensors(first.result)}
                self.constants.append(first)
            else:
                self.repeated.append(first)
        made = zip(values(operation.result), tensors(first.result), strict=True)
        self._stand_ins |= {id(value): tensor for value, tensor in made}

    def _result(self, placed: Operation, result: Any) -> Any:
        """What stands in for the result of an operation with these arguments."""
        if placed.views:
            with torch.no_grad():
                return placed.function(*placed.args, **placed.kwargs)
        return self.known(result) if placed.written else pytree.tree_map_only(Value, _without_memory, result)


def _without_memory(value: Value) -> Tensor:
    return torch.empty_strided(value.shape, value.stride, dtype=value.dtype, device="meta")


def _separated(result: Any, operations: list[Operation]) -> Any:
    """The result with a copy of each tensor that it has under several names: who writes to one must not change another.

    Args:
        result: of the function.
        operations: each copy is added here.
    """
    seen = set[tuple[Any, ...]]()

    def own(tensor: Tensor) -> Tensor:
        place = memory(tensor), tensor.storage_offset()
        if place not in seen:
            seen.add(place)
            return tensor
        operations.append(Operation(aten.clone.default, (tensor,), {}, torch.empty_like(tensor)))
        return operations[-1].result

    return pytree.tree_map_only(Tensor, own, result)


def _key_of(operation: Operation) -> Any:
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
