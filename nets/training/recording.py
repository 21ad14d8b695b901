"""A computation whose operations are recorded once and from then on repeated in the same memory.

Recorded is what reaches PyTorch's dispatcher beneath the layers' own formulas, so there is no second set of them: a matrix
product or an elementwise operation is repeated with the tensor that it once returned as its `out`, and a view needs no
repeating, since what it looks at stays where it is. What a step then costs is those operations and nothing else.

The function is run twice. The first run shows for how long each intermediate result is needed; in the second an operation writes
to memory that is needed no more, an elementwise one to that of its own operand, so that all of it stays in the processor's cache.
"""

import contextlib
import functools
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

Call = Callable[[], object]


class Recording:
    """`function()` at first, and what it did ever after.

    The function takes its tensors from the places where they will be found again: buffers that the caller fills, parameters that
    are updated in place. It may not look at numbers to decide what to do.

    Attributes:
        result: what the function returned. Each `replay` writes its tensors anew.

    Raises:
        RuntimeError: if it does, or if repeating the operations does not give what they gave.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        with torch.no_grad():
            with _Watch() as watch:
                expected = function()
            with _Plan(watch.operations, _tensors(expected)) as plan:
                self.result = function()
            self._calls = tuple(plan.calls)
            for _ in range(2):
                self.replay()
                for one, other in zip(_tensors(expected), _tensors(self.result), strict=True):
                    if not torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True):
                        raise RuntimeError("the operations give other numbers when they are repeated")

    def replay(self) -> None:
        """Do it again."""
        for call in self._calls:
            call()


class _Operation(NamedTuple):
    """One call that reached the dispatcher, and what it returned."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    @property
    def views(self) -> bool:
        """Whether the result is another look at an argument."""
        return any(value.alias_info is not None and not value.alias_info.is_write for value in self.function._schema.returns)

    @property
    def writes(self) -> bool:
        """Whether the result is an argument, written to."""
        return any(value.alias_info is not None and value.alias_info.is_write for value in self.function._schema.returns)


class _Watch(TorchDispatchMode):
    """While active, keeps every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[_Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a function that looks at a number, perhaps to decide what to do, cannot be recorded")
        result = func(*args, **(kwargs or {}))
        self.operations.append(_Operation(func, args, kwargs or {}, result))
        return result


class _Plan(TorchDispatchMode):
    """While active, has the same operations as before write to memory that is free, and makes of each a call to be repeated."""

    def __init__(self, operations: list[_Operation], kept: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self._folded, self._dropped = _folds(operations)
        self._dying = _last_uses(operations, kept, self._folded, self._dropped)
        self._results: list[Any] = []
        self._free: dict[tuple[torch.Size, torch.dtype], list[Tensor]] = defaultdict(list)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        number = len(self._results)
        # What is repeated is not to be differentiated, so a parameter is given as a plain tensor in the same memory.
        args, kwargs = pytree.tree_map_only(Tensor, lambda t: t.detach() if t.requires_grad else t, (args, kwargs or {}))
        operation = _Operation(func, args, kwargs, None)
        if number in self._folded:
            v, s = args[0], self._results[self._folded[number]]
            operation = _Operation(torch.ops.aten.addcmul.default, (v, v, s), {"value": -1}, None)
        result = self._done(number, operation)
        self._results.append(args[0] if number in self._dropped else result)
        return result

    def _done(self, number: int, operation: _Operation) -> Any:
        """The result of an operation; from it, unless it is a view, a call that writes the same result again."""
        function, args, kwargs, _ = operation
        if operation.views or number in self._dropped:
            return function(*args, **kwargs)
        if operation.writes:
            self.calls.append(functools.partial(function, *args, **kwargs))
            return function(*args, **kwargs)
        result = function(*args, **kwargs)
        dying = [self._results[n] for n in self._dying[number]]
        if isinstance(result, Tensor):
            key = (result.shape, result.dtype)
            own = [t for t in dying if (t.shape, t.dtype) == key] if torch.Tag.pointwise in function.tags else []
            place = own[0] if own else self._free[key].pop() if self._free[key] else result
            into = _into(operation, place if place.is_contiguous() and result.is_contiguous() else result)
            if into is not None:
                self.calls.append(into)
                result = into.keywords["out"]
                for tensor in dying:
                    if tensor is not result:
                        self._free[tensor.shape, tensor.dtype].append(tensor)
                return result
        self.calls.append(functools.partial(_copied, operation._replace(result=result)))
        return result


def _into(operation: _Operation, place: Tensor) -> "functools.partial[Any] | None":
    """The operation with its result written to a place, done once; None where it cannot be."""
    function, args, kwargs, _ = operation
    # The functions of torch are a microsecond faster to call than the operators beneath them.
    name = function._schema.name.removeprefix("aten::")
    for candidate in (getattr(torch, name, None), getattr(function.overloadpacket, "out", None)):
        with contextlib.suppress(TypeError, RuntimeError):
            if candidate is not None:
                candidate(*args, **kwargs, out=place)
                return functools.partial(candidate, *args, **kwargs, out=place)
    return None


def _copied(operation: _Operation) -> None:
    """The operation again, its result copied to where the first one is."""
    again = operation.function(*operation.args, **operation.kwargs)
    for old, new in zip(_tensors(operation.result), _tensors(again), strict=True):
        old.copy_(new)


def _folds(operations: list[_Operation]) -> tuple[dict[int, int], set[int]]:
    """v · (1 − s), a slope such as 1 − Y² at work, is done as v − v s, in one operation instead of two: {number of the product:
    number of the difference}, and the numbers of the differences."""
    aten = torch.ops.aten
    uses = Counter(id(tensor) for o in operations for tensor in _tensors((o.args, o.kwargs)))
    differences = {
        id(o.result): number for number, o in enumerate(operations) if o.function is aten.rsub.Scalar and o.args[1:] == (1,)
    }
    folded = {
        number: differences[id(o.args[1])]
        for number, o in enumerate(operations)
        if o.function is aten.mul.Tensor and id(o.args[1]) in differences and uses[id(o.args[1])] == 1
    }
    return folded, set(folded.values())


def _last_uses(operations: list[_Operation], kept: list[Tensor], folded: dict[int, int], dropped: set[int]) -> dict[int, list[int]]:
    """Number of an operation → those of the operations whose results nobody needs after it.

    Results that are kept, that something else is written to, or that are not a single tensor with memory of its own are left out.
    """
    made: dict[int, int] = {}
    last: dict[int, int] = {}
    never = {_memory(tensor) for tensor in kept}
    for number, o in enumerate(operations):
        if number in dropped:
            continue
        args = [*o.args, operations[folded[number]].args[0]] if number in folded else o.args
        for tensor in _tensors((args, o.kwargs)):
            last[_memory(tensor)] = number
        if o.writes or not isinstance(o.result, Tensor):
            never |= {_memory(tensor) for tensor in _tensors((o.args, o.result))}
        elif not o.views:
            made[_memory(o.result)] = number
    dying: dict[int, list[int]] = defaultdict(list)
    for memory, number in made.items():
        if memory not in never and memory in last:
            dying[last[memory]].append(number)
    return dying


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
