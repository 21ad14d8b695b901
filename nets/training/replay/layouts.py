"""Results that are written at once to where a copy would bring them.

Attention takes its heads apart and joins them again: a product for each head, a view that exchanges axes, a copy in the
order of these axes, and a concatenation. A product can write to any place. Here it writes to the memory of the
concatenation, and the copies are left out.
"""

from collections import Counter

import torch
from torch import Tensor

from nets.torch_internals import memory
from nets.training.replay.operation import Operation, tensors

aten = torch.ops.aten

ANYWHERE = {aten.matmul.default, aten.mm.default, aten.addmm.default, aten.mul.Tensor}
"""Operations that write to memory of any layout in about the same time."""

RESHAPED = {aten.view.default, aten.unsqueeze.default, aten.squeeze.dim}
"""Views with the same numbers in the same order."""


def without_copies(operations: list[Operation], returned: set[int]) -> list[Operation]:
    """The same operations without copies and concatenations of results that nothing else reads.

    Args:
        operations: in order.
        returned: the memory of the results of the function, which stay where they are.
    """
    moves = _Moves(operations, returned)
    for operation in reversed(operations):
        moves.try_without(operation)
    return [
        operation._replace(result=moves.places.get(id(operation.result), operation.result))
        for operation in operations
        if id(operation.result) not in moves.left_out
    ]


class _Moves:
    """What is left out, and where other operations write instead.

    Attributes:
        left_out: the results, by id, of the operations that are left out.
        places: where an operation writes, by the id of its result.
    """

    def __init__(self, operations: list[Operation], returned: set[int]) -> None:
        self.left_out: set[int] = set()
        self.places: dict[int, Tensor] = {}
        self._made = {id(one.result): one for one in operations if isinstance(one.result, Tensor)}
        self._uses = Counter(id(read) for one in operations for read in tensors((one.args, one.kwargs)))
        self._fixed = returned | {memory(tensor) for one in operations for tensor in one.written}

    def try_without(self, operation: Operation) -> None:
        """Leave a copy or a concatenation out if what it reads can be written to the memory of its result."""
        if id(operation.result) in self.left_out or operation.function not in (aten.clone.default, aten.cat.default):
            return
        chains = [self._chain(source, place) for source, place in _parts(operation)]
        if chains and all(chains):
            self.left_out.add(id(operation.result))
            for *between, (source, place) in chains:
                self.left_out |= {id(passed) for passed, _ in between}
                self.places[id(source)] = place

    def _chain(self, tensor: Tensor, place: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The tensor and those that it is a view or a copy of, each with its place, down to one that can be written
        there; empty if there is none."""
        made = self._made.get(id(tensor))
        if made is None or self._uses[id(tensor)] != 1 or memory(tensor) in self._fixed or tensor.dtype != place.dtype:
            return []
        if made.function in ANYWHERE:
            return [(tensor, place)]
        source = _source(made, place)
        further = [] if source is None else self._chain(made.args[0], source)
        return [(tensor, place), *further] if further else []


def _parts(operation: Operation) -> list[tuple[Tensor, Tensor]]:
    """What a copy or a concatenation reads, each with its place in the result."""
    if operation.function is aten.clone.default:
        return [(operation.args[0], operation.result)]
    parts, axis = operation.args[0], operation.args[1] if len(operation.args) > 1 else 0
    if any(part.ndim != operation.result.ndim for part in parts):  # an empty vector, which PyTorch skips
        return []
    return list(zip(parts, operation.result.split([part.shape[axis] for part in parts], axis), strict=True))


def _source(operation: Operation, place: Tensor) -> Tensor | None:
    """The place of what a view or a copy reads, if the result is at `place`."""
    function, (read, *how), _, _ = operation
    if function is aten.clone.default:
        return place
    if function is aten.permute.default:
        dims = [dim % place.ndim for dim in how[0]]
        return place.permute([dims.index(dim) for dim in range(place.ndim)])
    if function in (aten.transpose.int, aten.t.default):
        return place.transpose(*(how or (0, 1)))
    if function in RESHAPED:
        try:
            return place.view(read.shape)
        except RuntimeError:  # the axes of the place cannot be joined
            return None
    return None
