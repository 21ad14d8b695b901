"""Operations of the backward pass that are done in the forward pass, where less memory then waits in between.

The slope of an activation may read two or three results of its forward pass. They wait for the backward pass, unless
the slope is computed at once: then it alone waits.
"""

from collections import defaultdict
from typing import NamedTuple

import torch
from torch import Tensor

from nets.torch_internals import memory
from nets.training.replay.operation import Operation, tensors


def scheduled(operations: list[Operation], returned: set[int]) -> list[Operation]:
    """The same operations, each after those that it reads.

    Args:
        operations: in order.
        returned: the memory of the results of the function.
    """
    schedule = _Schedule(operations, returned)
    place = [float(number) for number in range(len(operations))]
    moved: set[int] = set()
    for number in reversed(range(len(operations))):
        group = schedule.group(number) if number not in moved else None
        if group is not None and group.saved > 0:
            moved |= group.numbers
            place = [group.after + 0.5 if other in group.numbers else old for other, old in enumerate(place)]
    return [operations[number] for number in sorted(range(len(operations)), key=lambda number: (place[number], number))]


class _Group(NamedTuple):
    """Elementwise operations of which one result is read by others.

    Attributes:
        numbers: of the operations.
        after: the number of the last operation that makes what they read.
        saved: the bytes that do not wait if the operations are done there, less those of their result; each times the
            number of operations for which they wait.
    """

    numbers: set[int]
    after: int
    saved: int


class _Schedule:
    """What each operation makes and reads."""

    def __init__(self, operations: list[Operation], returned: set[int]) -> None:
        self._operations = operations
        self._read = [tensors((operation.args, operation.kwargs)) for operation in operations]
        self._fixed = returned | {memory(tensor) for operation in operations for tensor in operation.written}
        self._made_by = {id(tensor): number for number, one in enumerate(operations) for tensor in tensors(one.result)}
        self._own = {memory(tensor) for one in operations if not one.views for tensor in tensors(one.result)}
        self._readers: dict[int, set[int]] = defaultdict(set)
        for number, read in enumerate(self._read):
            for tensor in read:
                self._readers[memory(tensor)].add(number)

    def group(self, last: int) -> _Group | None:
        """The elementwise operations that only the result of operation `last` needs, and it itself; None if there is
        nothing to gain."""
        if not self._movable(last):
            return None
        numbers = {last}
        waiting = [last]
        while waiting:
            for tensor in self._read[waiting.pop()]:
                made_by = self._made_by.get(id(tensor), -1)
                if made_by not in numbers and self._movable(made_by) and self._readers[memory(tensor)] <= numbers:
                    numbers.add(made_by)
                    waiting.append(made_by)
        read = [t for number in numbers for t in self._read[number] if self._made_by.get(id(t)) not in numbers]
        after = max((self._made_by.get(id(tensor), -1) for tensor in read), default=-1)
        if after < 0 or last - after <= len(numbers):  # they stand there already
            return None
        waited = {memory(tensor): self._bytes(tensor) * self._waits(tensor, numbers, after, last) for tensor in read}
        cost = self._bytes(self._operations[last].result) * (last - after)
        return _Group(numbers, after, sum(waited.values()) - cost)

    def _waits(self, tensor: Tensor, numbers: set[int], after: int, last: int) -> int:
        """For how many operations until `last` a tensor waits for these alone."""
        if memory(tensor) not in self._own - self._fixed:
            return 0
        return max(0, last - max(self._readers[memory(tensor)] - numbers | {after}))

    @staticmethod
    def _bytes(tensor: Tensor) -> int:
        return tensor.untyped_storage().nbytes()

    def _movable(self, number: int) -> bool:
        """Whether an operation is elementwise, with a result in memory of its own that the function does not return."""
        if number < 0:
            return False
        operation = self._operations[number]
        return (
            isinstance(operation.result, Tensor)
            and torch.Tag.pointwise in operation.function.tags
            and not operation.views
            and memory(operation.result) not in self._fixed
            and self._bytes(operation.result) == operation.result.nbytes
        )
