"""A computation whose operations are recorded once and from then on repeated in the same memory.

Recorded is what reaches PyTorch's dispatcher beneath the layers' own formulas, so there is no second set of them: a matrix
product or an elementwise operation is repeated with the tensor that it once returned as its `out`, and a view needs no
repeating, since what it looks at stays where it is. What a step then costs is those operations and nothing else.
"""

import collections
import contextlib
import functools
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
        RuntimeError: if repeating the operations does not give what they gave.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        recorder = _Recorder()
        with torch.no_grad():
            with recorder:
                self.result = function()
            self._calls = [call for call in map(_repeatable, _folded(recorder.operations)) if call is not None]
        tensors = [leaf for leaf in pytree.tree_leaves(self.result) if isinstance(leaf, Tensor)]
        once = [tensor.clone() for tensor in tensors]
        self.replay()
        if not all(torch.allclose(one, other, rtol=1e-5, equal_nan=True) for one, other in zip(once, tensors, strict=True)):
            raise RuntimeError("the operations give other numbers when they are repeated")

    def replay(self) -> None:
        """Do it again."""
        with torch.no_grad():
            for call in self._calls:
                call()


class _Operation(NamedTuple):
    """One call that reached the dispatcher, and what it returned."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


class _Recorder(TorchDispatchMode):
    """While active, keeps every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[_Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations.append(_Operation(func, args, kwargs or {}, result))
        return result


def _repeatable(operation: _Operation) -> Call | None:
    """A call without arguments that does the operation again; None for a view, which stays what it is."""
    function, args, kwargs, result = operation
    returned = function._schema.returns
    if any(value.alias_info is not None and value.alias_info.is_write for value in returned):
        return functools.partial(function, *args, **kwargs)
    if any(value.alias_info is not None for value in returned):
        return None
    if isinstance(result, Tensor):
        # The functions of torch are a microsecond faster to call than the operators beneath them.
        name = function._schema.name.removeprefix("aten::")
        for candidate in (getattr(torch, name, None), getattr(function.overloadpacket, "out", None)):
            with contextlib.suppress(TypeError, RuntimeError):
                if candidate is not None:
                    candidate(*args, **kwargs, out=result)
                    return functools.partial(candidate, *args, **kwargs, out=result)
    return functools.partial(_copied, operation)


def _copied(operation: _Operation) -> None:
    """The operation again, its result copied to where the first one is."""
    again = operation.function(*operation.args, **operation.kwargs)
    for old, new in zip(pytree.tree_leaves(operation.result), pytree.tree_leaves(again), strict=True):
        if isinstance(old, Tensor):
            old.copy_(new)


def _folded(operations: list[_Operation]) -> list[_Operation]:
    """With v · (1 − s), a slope such as 1 − Y² at work, done as v − v s, in one operation instead of two."""
    aten = torch.ops.aten
    uses = collections.Counter(id(leaf) for o in operations for leaf in pytree.tree_leaves((o.args, o.kwargs)))
    differences = {id(o.result): o for o in operations if o.function is aten.rsub.Scalar and o.args[1:] == (1,)}
    folded, dropped = [], set[int]()
    for o in operations:
        right = id(o.args[1]) if o.function is aten.mul.Tensor else None
        if right in differences and uses[right] == 1:
            v, s = o.args[0], differences[right].args[0]
            dropped.add(right)
            o = _Operation(aten.addcmul.default, (v, v, s), {"value": -1}, o.result)
        folded.append(o)
    return [o for o in folded if id(o.result) not in dropped]
