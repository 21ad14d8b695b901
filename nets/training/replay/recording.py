"""A computation whose operations are recorded once and repeated in the same memory from then on.

What is recorded are the operations that reach PyTorch's dispatcher from the layers' own formulas, so there is no second
set of formulas. A matrix product or an elementwise operation is repeated with the tensor that it once returned as its
`out`. A view is not repeated, since the memory that it shows stays where it is. A step then costs these operations and
nothing else.

`simplification` leaves out what need not be repeated, and `memory_plan` lets each operation write to memory that is no
longer needed.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nets.torch_internals import TorchDispatchMode, pytree
from nets.torch_internals import memory as memory_of
from nets.training.replay.kernels import Operation, copying, tensors
from nets.training.replay.memory_plan import MemoryPlan
from nets.training.replay.simplification import key_of, simplified

aten = torch.ops.aten

VIEWS = {aten._unsafe_view.default: aten.view.default}
"""Operations that return a view without saying so, and the one that says so."""


class Watch(TorchDispatchMode):
    """While active, sees every operation, and whether something stands in the way of repeating them.

    A layer made of layers computes values between its parts many times over, see `Composite`. With `once` they are
    computed and kept once.

    Args:
        keeps: whether the operations are kept, and so the memory of their results.
        once: whether an operation that equals an earlier one returns the result of that one. Nothing may write to it.

    Attributes:
        operations: in order, if they are kept.
        obstacle: the reason why they cannot be repeated; empty if there is none.
        writes: whether an operation has written to an argument.
    """

    def __init__(self, keeps: bool = True, once: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.obstacle = ""
        self.writes = False
        self._keeps = keeps
        self._first: dict[Any, Operation] | None = {} if once else None
        self._views: dict[int, Tensor] = {}
        self._made: set[int] = set()
        self._products = _Products(self)
        self._paused = False

    def __enter__(self) -> "Watch":
        super().__enter__()  # type: ignore[no-untyped-call]
        self._products.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._products.__exit__(*error)  # type: ignore[no-untyped-call]
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def product(self, function: Callable[..., Tensor], one: Tensor, other: Tensor) -> Tensor:
        """The product of matrices as one operation: PyTorch would copy operands and make a product of the copies."""
        operation = Operation(aten.matmul.default, (one, other), {})
        earlier = self._earlier(operation)
        if earlier is not None:
            return cast("Tensor", earlier.result)
        self._paused = True
        try:
            result = function(one, other)
        finally:
            self._paused = False
        self._keep(operation._replace(result=result))
        return result

    def separated(self, result: Any) -> Any:
        """The same numbers, with memory of its own for each tensor that has been returned under several names."""
        self._first = None
        seen: set[int] = set()

        def own(tensor: Tensor) -> Tensor:
            found = tensor.clone() if tensor.data_ptr() in seen else tensor
            seen.add(tensor.data_ptr())
            return found

        return pytree.tree_map_only(Tensor, own, result)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._paused:
            return func(*args, **(kwargs or {}))
        operation = Operation(VIEWS.get(func, func), args, kwargs or {})
        earlier = self._earlier(operation)
        if earlier is not None:
            return earlier.result
        result = func(*args, **(kwargs or {}))
        if result is not None and not tensors(result):
            self.obstacle = "the function looks at a number, perhaps to decide what to do"
        elif torch.Tag.nondeterministic_seeded in func.tags:
            self.obstacle = "the function draws random numbers"
        elif torch.Tag.dynamic_output_shape in func.tags:
            self.obstacle = "the function returns a tensor whose shape depends on numbers"
        elif any(memory_of(written) not in self._made for written in operation.written):
            self.obstacle = "the function writes to memory that it has not made"
        self.writes |= bool(operation.written)
        self._keep(operation._replace(result=result))
        return result

    def _earlier(self, operation: Operation) -> Operation | None:
        """An operation of the same kind with the same arguments. PyTorch makes each view itself."""
        return None if self._first is None or operation.views else self._first.get(self._key(operation))

    def _key(self, operation: Operation) -> Any:
        """Equal for equal operations; a view counts as the first view like it."""

        def known(tensor: Tensor) -> Tensor:
            return self._views.get(id(tensor), tensor)

        args, kwargs = pytree.tree_map_only(Tensor, known, (operation.args, operation.kwargs))
        return key_of(operation._replace(args=args, kwargs=kwargs))

    def _keep(self, operation: Operation) -> None:
        if self._keeps:
            self.operations.append(operation)
        if self._first is not None:
            first = self._first.setdefault(self._key(operation), operation)
            if first is not operation:
                pairs = zip(tensors(operation.result), tensors(first.result), strict=True)
                self._views |= {id(view): one for view, one in pairs}
        if not operation.views:
            self._made |= {memory_of(tensor) for tensor in tensors(operation.result)}


class _Products(TorchFunctionMode):
    """While active, lets a watch keep each product of several pairs of matrices."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS and not kwargs and min(one.ndim for one in args) > 2:
            return self._watch.product(func, *args)
        return func(*args, **(kwargs or {}))


PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)
"""Functions of PyTorch that multiply two matrices, or a matrix of one tensor with that of another."""


class Recording:
    """The operations of `function()`, to be repeated.

    The function must find its tensors in the same places each time: buffers that the caller fills, parameters that are
    updated in place. It must not decide by a number.

    Args:
        function: what is recorded. It is called here, once more if a watch has seen it run.
        watch: a watch that has seen it run.
        expected: its result then.

    Attributes:
        result: what the function returned. Each `replay` overwrites its tensors.

    Raises:
        RuntimeError: if there is an obstacle, or if repeating the operations does not give what they gave.
    """

    def __init__(self, function: Callable[[], Any], watch: Watch | None = None, expected: Any = None) -> None:
        with torch.no_grad():
            if watch is None:
                with Watch(keeps=False) as watch:
                    expected = function()
            if watch.obstacle:
                raise RuntimeError(f"{watch.obstacle}; expected operations that can be repeated")
            numbers = [tensor.clone() for tensor in tensors(expected)]
            with Watch(once=not watch.writes) as kept:
                result = kept.separated(function())
            plan = MemoryPlan(simplified(kept.operations, result))
            self.result, self._calls = plan.result, tuple(plan.calls)
            for _ in range(2):
                self.replay()
                if not alike(numbers, tensors(self.result)):
                    raise RuntimeError("the operations give other numbers when they are repeated")

    @property
    def copying(self) -> list[str]:
        """The names of operations whose results are copied to their places, which takes time."""
        return copying(self._calls)

    def replay(self) -> None:
        """Repeat the operations."""
        for call in self._calls:
            call()


def alike(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    """Whether results differ by rounding alone. A network may multiply a rounding by a thousand.

    Each tensor is compared on its own scale, and with the rounding of the largest of them: a gradient that is zero by
    cancellation, such as that of the bias of the keys in attention, has no scale of its own.
    """
    largest = [_largest(tensor) for tensor in expected]
    most = max(largest, default=0.0)
    return all(
        torch.allclose(one, other, rtol=0, atol=_rounding(one) * max(1e4 * own, most), equal_nan=True)
        for one, other, own in zip(expected, found, largest, strict=True)
    )


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().nan_to_num(0, 0, 0).amax()) if tensor.is_floating_point() and tensor.numel() else 0.0


def _rounding(tensor: Tensor) -> float:
    return torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else 0.0
