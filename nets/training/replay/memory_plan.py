"""Which memory each recorded operation writes to, and the call that does it.

Memory is taken here, for the first time in a recording: until now each tensor that the function made has one without
memory in its place. An operation writes to memory that is no longer needed, an elementwise one to the memory of its own
operand, so that all of it stays in the processor's cache. A view is not repeated, since the memory that it shows stays
where it is.
"""

import functools
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import memory, pytree
from nets.training.replay.kernels import Call, into
from nets.training.replay.operation import Operation, tensors
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
        self._viewed = _in_one_piece(recorded)
        self._taken: dict[int, Tensor] = {}
        self._free: list[Tensor] = []
        for operation in recorded.constants:
            self._do_once(operation)
        for number, operation in enumerate(recorded.operations):
            args, kwargs = self._placed((operation.args, operation.kwargs))
            result = self._planned(number, operation, operation._replace(args=args, kwargs=kwargs))
            made = zip(tensors(operation.result), tensors(result), strict=True)
            self._places |= {id(original): place for original, place in made}
            written = {memory(place) for place in tensors(result)}
            dead = (self._taken[memory(tensor)] for tensor in self._dying[number])
            self._free += [flat for flat in dead if memory(flat) not in written]
        self.result = self._placed(recorded.result)

    def _do_once(self, operation: Operation) -> None:
        """Compute a constant. Of a tensor that is not computed by now, only the shape is read."""

        def place(tensor: Tensor) -> Tensor:
            known = self._places.get(id(tensor), tensor)
            return torch.empty(known.shape, dtype=known.dtype) if known.is_meta else known

        args, kwargs = pytree.tree_map_only(Tensor, place, (operation.args, operation.kwargs))
        result = operation.function(*args, **kwargs)
        made = zip(tensors(operation.result), tensors(result), strict=True)
        self._places |= {id(stand_in): constant for stand_in, constant in made}

    def _placed(self, tree: Any) -> Any:
        """The tensors in the memory that the calls write to. A replay is not differentiated, so a parameter is replaced
        by a plain tensor in the same memory."""
        return pytree.tree_map_only(Tensor, self._place_of, tree)

    def _place_of(self, tensor: Tensor) -> Tensor:
        place = self._places.get(id(tensor))
        if place is None:
            place = self._shown(tensor) if tensor.is_meta else tensor.detach() if tensor.requires_grad else tensor
            self._places[id(tensor)] = place
        return place

    def _planned(self, number: int, original: Operation, operation: Operation) -> Any:
        """The result of an operation. Unless it is a view, a call that writes it again is added to `calls`."""
        function, args, kwargs, result = operation
        if operation.views:
            return function(*args, **kwargs)
        if operation.writes:
            self.calls.append(functools.partial(function, *args, **kwargs))
            return function(*args, **kwargs)
        place = pytree.tree_map_only(Tensor, lambda tensor: self._place(number, operation, tensor), result)
        self.calls.append(into(operation, place))
        return place

    def _place(self, number: int, operation: Operation, result: Tensor) -> Tensor:
        """Where an operation writes a result: the memory of its own operand, other memory that is free, or new
        memory."""
        if not result.is_meta:
            return result
        if memory(result) in self._taken or memory(result) in self._kept or _whole(result) > result.numel():
            return self._shown(result)
        if torch.Tag.pointwise in operation.function.tags:
            read = tensors((operation.args, operation.kwargs))
            for operand in self._dying[number]:
                place = self._places[id(operand)]
                others = [one for one in read if memory(one) == memory(place) and one is not place]
                if not others and self._fits(result, operand, place):
                    self._taken[memory(result)] = self._taken[memory(operand)]
                    return place
        distance = 0 if memory(result) in self._viewed else _distance(result)
        if not distance:
            return self._shown(result)
        rows, columns = result.shape
        apart = self._take(result, rows * (columns + distance))
        return apart.view(rows, -1)[:, :columns]

    def _fits(self, result: Tensor, operand: Tensor, place: Tensor) -> bool:
        """Whether a result may take the place of an operand, which must not be a part of larger memory. A result of
        which a view is read needs its own layout."""
        laid_out = memory(result) not in self._viewed or place.stride() == result.stride()
        alike = (place.shape, place.dtype) == (result.shape, result.dtype)
        return laid_out and alike and _whole(operand) == operand.numel()

    def _shown(self, result: Tensor) -> Tensor:
        """A result in its layout, in memory that it may share with others."""
        flat = self._taken[memory(result)] if memory(result) in self._taken else self._take(result, _whole(result))
        return flat.as_strided(result.shape, result.stride(), result.storage_offset())

    def _take(self, result: Tensor, needed: int) -> Tensor:
        """The smallest free memory that has room for so many numbers and not for twice as many; or new memory."""
        fitting = [
            (flat.numel(), -number)
            for number, flat in enumerate(self._free)
            if flat.dtype == result.dtype and needed <= flat.numel() <= 2 * needed
        ]
        own = memory(result) in self._kept or not fitting
        flat = torch.empty(needed, dtype=result.dtype) if own else self._free.pop(-min(fitting)[1])
        self._taken[memory(result)] = flat
        return flat[:needed]


def _whole(tensor: Tensor) -> int:
    """The numbers in the memory of a tensor."""
    return tensor.untyped_storage().nbytes() // tensor.itemsize


def _in_one_piece(recorded: Simplified) -> set[int]:
    """The memory of results that are read in another layout than they are written in: no gaps may be put in."""
    written = {id(tensor) for operation in recorded.operations for tensor in tensors(operation.result)}
    return {
        memory(tensor)
        for operation in recorded.operations
        for tensor in tensors((operation.args, operation.kwargs))
        if id(tensor) not in written or (operation.views and operation.function not in ANY_LAYOUT)
    }


def _distance(result: Tensor) -> int:
    """How many numbers apart the end of a row and the beginning of the next should be.

    A cache holds only a few rows that begin a multiple of 4,096 bytes apart, and a product of PyTorch's that walks down
    the columns takes up to half as long again. With one thread these products are NumPy's (see `products`), which
    copies its operands to memory without that distance.
    """
    conflict = result.ndim == 2 and result.shape[1] * result.itemsize % 4096 == 0 and torch.get_num_threads() > 1
    return 64 // result.itemsize if conflict else 0


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
