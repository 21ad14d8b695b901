"""Which memory each recorded operation writes to, and the call that does it.

An operation writes to memory that is no longer needed, an elementwise one to the memory of its own operand, so that all
of it stays in the processor's cache. A view is not repeated, since the memory that it shows stays where it is.
"""

import functools
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import memory, pytree
from nets.training.replay.kernels import Call, Operation, into, tensors
from nets.training.replay.simplification import Simplified

aten = torch.ops.aten

ANY_LAYOUT = {aten.t.default, aten.transpose.int, aten.detach.default, aten.permute.default}
"""Views of any memory. The others are made only of memory that is laid out as before."""


class MemoryPlan:
    """A call for each operation, and where it leaves its result.

    Attributes:
        calls: in order.
        result: the result of the function, in the memory that the calls write to.
    """

    def __init__(self, recorded: Simplified) -> None:
        self.calls: list[Call] = []
        self._places: dict[int, Tensor] = {}
        self._kept = {memory(tensor) for tensor in tensors(recorded.result)}
        self._dying = _last_uses(recorded)
        self._viewed = {
            memory(tensor)
            for operation in recorded.operations
            if operation.views and operation.function not in ANY_LAYOUT
            for tensor in tensors(operation.args)
        }
        self._free: dict[tuple[torch.Size, torch.dtype], list[Tensor]] = defaultdict(list)
        for number, operation in enumerate(recorded.operations):
            args, kwargs = self._placed((operation.args, operation.kwargs))
            result = self._planned(number, operation, operation._replace(args=args, kwargs=kwargs))
            made = zip(tensors(operation.result), tensors(result), strict=True)
            self._places |= {id(original): place for original, place in made}
            for tensor in self._dying[number]:
                place = self._places[id(tensor)]
                if tensor.is_contiguous() and not any(place is one for one in tensors(result)):
                    self._free[place.shape, place.dtype].append(place)
        self.result = self._placed(recorded.result)

    def _placed(self, tree: Any) -> Any:
        """The tensors in the memory that the calls write to. A replay is not differentiated, so a parameter is replaced
        by a plain tensor in the same memory."""
        return pytree.tree_map_only(Tensor, self._place_of, tree)

    def _place_of(self, tensor: Tensor) -> Tensor:
        place = self._places.get(id(tensor))
        if place is None:
            place = self._places[id(tensor)] = tensor.detach() if tensor.requires_grad else tensor
        return place

    def _planned(self, number: int, original: Operation, operation: Operation) -> Any:
        """The result of an operation. Unless it is a view, a call that writes it again is added to `calls`."""
        function, args, kwargs, result = operation
        if operation.views:
            return function(*args, **kwargs)
        if operation.writes:
            self.calls.append(functools.partial(function, *args, **kwargs))
            return function(*args, **kwargs)
        place = self._place(number, operation) if isinstance(result, Tensor) else result
        self.calls.append(into(operation, place))
        return place

    def _place(self, number: int, operation: Operation) -> Tensor:
        """Memory for the result of an operation: of its own operand, other memory that is free, or its own."""
        result = operation.result
        if memory(result) in self._kept or not result.is_contiguous():
            return result
        key = (result.shape, result.dtype)
        if torch.Tag.pointwise in operation.function.tags:
            read = tensors((operation.args, operation.kwargs))
            for place in (self._places[id(tensor)] for tensor in self._dying[number]):
                others = [one for one in read if memory(one) == memory(place) and one is not place]
                if (place.shape, place.dtype) == key and not others:
                    return place
        viewed = memory(result) in self._viewed
        for number, place in enumerate(self._free[key]):
            if place.is_contiguous() or not viewed:
                return self._free[key].pop(number)
        return result if viewed else _without_conflicts(result)


def _without_conflicts(result: Tensor) -> Tensor:
    """Memory for a result in which no two rows begin a multiple of 4,096 bytes apart.

    A cache holds only a few such rows at a time, and a product of PyTorch's that walks down the columns takes up to
    half as long again. With one thread these products are NumPy's (see `products`), which copies its operands to memory
    without that distance.
    """
    if result.ndim != 2 or result.shape[1] * result.itemsize % 4096 or torch.get_num_threads() == 1:
        return result
    rows, columns = result.shape
    return result.new_empty(rows, columns + 64 // result.itemsize)[:, :columns]


def _last_uses(recorded: Simplified) -> dict[int, list[Tensor]]:
    """Number of an operation → the results of operations that are not needed after it.

    Left out are results that the function returns, results that are written to again, and all but single tensors with
    memory of their own.
    """
    made: dict[int, Tensor] = {}
    last: dict[int, int] = {}
    never = {memory(tensor) for tensor in tensors(recorded.result)}
    for number, operation in enumerate(recorded.operations):
        for tensor in tensors((operation.args, operation.kwargs)):
            last[memory(tensor)] = number
        if operation.writes or not isinstance(operation.result, Tensor):
            never |= {memory(tensor) for tensor in tensors((operation.args, operation.result))}
        elif not operation.views:
            made[memory(operation.result)] = operation.result
    dying: dict[int, list[Tensor]] = defaultdict(list)
    for key, tensor in made.items():
        if key not in never and key in last:
            dying[last[key]].append(tensor)
    return dying
