"""A computation whose operations are recorded once and repeated in the same memory from then on.

What is recorded are the operations that reach PyTorch's dispatcher from the layers' own formulas, so there is no second
set of formulas. A matrix product or an elementwise operation is repeated with the tensor that it once returned as its
`out`. A view is not repeated, since the memory that it shows stays where it is. A step then costs these operations and
nothing else.

The function is run twice. The first run shows how long each intermediate result is needed. In the second, an operation
writes to memory that is no longer needed, an elementwise one to the memory of its own operand, so that all of it stays
in the processor's cache.
"""

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import TorchDispatchMode, pytree
from nets.torch_internals import memory as memory_of
from nets.training.replay.kernels import Call, Operation, into, tensors


class Watch(TorchDispatchMode):
    """While active, keeps every operation, and whether something stands in the way of repeating them.

    Attributes:
        operations: in order.
        obstacle: the reason why they cannot be repeated; empty if there is none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.obstacle = ""
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operation, result = Operation(func, args, kwargs or {}), func(*args, **(kwargs or {}))
        if result is not None and not tensors(result):
            self.obstacle = "the function looks at a number, perhaps to decide what to do"
        elif torch.Tag.nondeterministic_seeded in func.tags:
            self.obstacle = "the function draws random numbers"
        elif torch.Tag.dynamic_output_shape in func.tags:
            self.obstacle = "the function returns a tensor whose shape depends on numbers"
        elif any(memory_of(written) not in self._made for written in operation.written):
            self.obstacle = "the function writes to memory that it has not made"
        self.operations.append(operation._replace(result=result))
        if not operation.views:
            self._made |= {memory_of(tensor) for tensor in tensors(result)}
        return result


class Recording:
    """The operations of `function()`, to be repeated.

    The function must find its tensors in the same places each time: buffers that the caller fills, parameters that are
    updated in place. It must not decide by a number.

    Args:
        function: what is recorded.
        watch: a watch that has seen it run. Without one it is run once more.
        expected: its result then.

    Attributes:
        result: what the function returned. Each `replay` overwrites its tensors.

    Raises:
        RuntimeError: if there is an obstacle, or if repeating the operations does not give what they gave.
    """

    def __init__(self, function: Callable[[], Any], watch: Watch | None = None, expected: Any = None) -> None:
        with torch.no_grad():
            if watch is None:
                with Watch() as watch:
                    expected = function()
            if watch.obstacle:
                raise RuntimeError(f"{watch.obstacle}; expected operations that can be repeated")
            with _Plan(watch.operations, tensors(expected)) as plan:
                self.result = function()
            self._calls = tuple(plan.calls)
            for _ in range(2):
                self.replay()
                if not all(map(alike, tensors(expected), tensors(self.result))):
                    raise RuntimeError("the operations give other numbers when they are repeated")

    def replay(self) -> None:
        """Repeat the operations."""
        for call in self._calls:
            call()


class _Plan(TorchDispatchMode):
    """While active, lets the same operations as before write to memory that is free, and makes a call of each."""

    def __init__(self, operations: list[Operation], kept: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        memory = {memory_of(tensor) for tensor in kept}
        self._kept = {
            n for n, o in enumerate(operations) if isinstance(o.result, Tensor) and memory_of(o.result) in memory
        }
        self._dying = _last_uses(operations, kept)
        self._results: list[Any] = []
        self._free: dict[tuple[torch.Size, torch.dtype], list[Tensor]] = defaultdict(list)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        number = len(self._results)
        # A replay is not differentiated, so a parameter is replaced by a plain tensor in the same memory.
        args, kwargs = pytree.tree_map_only(
            Tensor, lambda t: t.detach() if t.requires_grad else t, (args, kwargs or {})
        )
        self._results.append(self._planned(number, Operation(func, args, kwargs)))
        return self._results[-1]

    def _planned(self, number: int, operation: Operation) -> Any:
        """The result of an operation. Unless it is a view, a call that writes it again is added to `calls`."""
        function, args, kwargs, _ = operation
        if operation.views:
            return function(*args, **kwargs)
        if operation.writes:
            self.calls.append(functools.partial(function, *args, **kwargs))
            return function(*args, **kwargs)
        result = function(*args, **kwargs)
        if not isinstance(result, Tensor):
            self.calls.append(functools.partial(_copied, operation, result))
            return result
        place = self._place(number, operation, result)
        self.calls.append(into(operation, place))
        for tensor in (self._results[n] for n in self._dying[number]):
            if tensor is not place:
                self._free[tensor.shape, tensor.dtype].append(tensor)
        return place

    def _place(self, number: int, operation: Operation, result: Tensor) -> Tensor:
        """Memory for the result of an operation: of its own operand, other memory that is free, or new."""
        if number in self._kept or not result.is_contiguous():
            return result
        key = (result.shape, result.dtype)
        pointwise = torch.Tag.pointwise in operation.function.tags
        own = [t for t in (self._results[n] for n in self._dying[number]) if pointwise and (t.shape, t.dtype) == key]
        return own[0] if own else self._free[key].pop() if self._free[key] else _without_conflicts(result)


def _copied(operation: Operation, places: tuple[Tensor, ...]) -> None:
    """An operation with several results: they are copied to the places where later operations read them."""
    for place, new in zip(
        tensors(places), tensors(operation.function(*operation.args, **operation.kwargs)), strict=True
    ):
        place.copy_(new)


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


def _last_uses(operations: list[Operation], kept: list[Tensor]) -> dict[int, list[int]]:
    """Number of an operation → numbers of the operations whose results are not needed after it.

    Left out are results that are kept, results that are written to again, and all but single tensors with memory of
    their own.
    """
    made: dict[int, int] = {}
    last: dict[int, int] = {}
    never = {memory_of(tensor) for tensor in kept}
    for number, o in enumerate(operations):
        for tensor in tensors((o.args, o.kwargs)):
            last[memory_of(tensor)] = number
        if o.writes or not isinstance(o.result, Tensor):
            never |= {memory_of(tensor) for tensor in tensors((o.args, o.result))}
        elif not o.views:
            made[memory_of(o.result)] = number
    dying: dict[int, list[int]] = defaultdict(list)
    for memory, number in made.items():
        if memory not in never and memory in last:
            dying[last[memory]].append(number)
    return dying


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors differ by rounding alone. A network may multiply a rounding by a thousand."""
    tolerance = 1e4 * torch.finfo(one.dtype).eps * one.abs().nan_to_num(0, 0, 0).amax() if one.numel() else 0
    return torch.allclose(one, other, rtol=0, atol=float(tolerance), equal_nan=True)
