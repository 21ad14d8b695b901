"""A computation whose operations are recorded once and repeated in the same memory from then on.

What is recorded are the operations that reach PyTorch's dispatcher from the layers' own formulas, so there is no second
set of formulas. A matrix product or an elementwise operation is repeated with a tensor of the recording as its `out`. A
view is not repeated, since the memory that it shows stays where it is. A step then costs these operations and nothing
else.

`simplification` leaves out what need not be repeated, and `memory_plan` lets each operation write to memory that is no
longer needed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from nets.torch_internals import TorchDispatchMode, pytree
from nets.torch_internals import memory as memory_of
from nets.training.replay.kernels import copying
from nets.training.replay.memory_plan import MemoryPlan
from nets.training.replay.operation import Operation, Value, tensors, values
from nets.training.replay.simplification import simplified

aten = torch.ops.aten

VIEWS = {aten._unsafe_view.default: aten.view.default}
"""Operations that return a view without saying so, and the one that says so."""


class Watch(TorchDispatchMode):
    """While active, keeps every operation, and whether something stands in the way of repeating them.

    All values of a step together take several times the memory that a step needs. So the tensors that the function
    makes are not kept: a `Value` is, in its place among arguments and results. Tensors from outside are kept.

    Attributes:
        operations: in order.
        obstacle: the reason why they cannot be repeated; empty if there is none.
        result: what the function has returned.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.obstacle = ""
        self.result: Any = None
        self._values = WeakTensorKeyDictionary()
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
        self._paused = True
        try:
            result = function(one, other)
        finally:
            self._paused = False
        self._keep(Operation(aten.matmul.default, (one, other), {}, result))
        return result

    def without_numbers(self, tree: Any) -> Any:
        """Arguments or a result, with a `Value` for each tensor that the function has made."""
        return pytree.tree_map_only(Tensor, lambda tensor: self._values.get(tensor, tensor), tree)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._paused:
            self._keep(Operation(VIEWS.get(func, func), args, kwargs or {}, result))
        return result

    def _keep(self, operation: Operation) -> None:
        self.obstacle = self.obstacle or self._obstacle(operation)
        if self.obstacle:
            return
        args, kwargs = self.without_numbers((operation.args, operation.kwargs))
        if not operation.written:
            shown = values(args)[:1] if operation.views else []
            for tensor in tensors(operation.result):
                self._values[tensor] = Value(tensor, operation.views, *shown)
        self.operations.append(Operation(operation.function, args, kwargs, self.without_numbers(operation.result)))

    def _made(self, tensor: Tensor) -> bool:
        """Whether the function has made the memory of a tensor."""
        return tensor in self._values and self._values[tensor].memory is not None

    def _obstacle(self, operation: Operation) -> str:
        function, result = operation.function, tensors(operation.result)
        if operation.result is not None and not result:
            return "the function looks at a number, perhaps to decide what to do"
        if torch.Tag.nondeterministic_seeded in function.tags:
            return "the function draws random numbers"
        if torch.Tag.dynamic_output_shape in function.tags:
            return "the function returns a tensor whose shape depends on numbers"
        if any(tensor.layout != torch.strided for tensor in result):
            return "the function makes a tensor that is not laid out by strides"
        if not all(map(self._made, operation.written)):
            return "the function writes to memory that it has not made"
        read = {memory_of(tensor) for tensor in tensors((operation.args, operation.kwargs))}
        if not (operation.views or operation.writes) and any(memory_of(tensor) in read for tensor in result):
            return f"{function} returns the memory of an argument without saying so"
        return ""


def watched(function: Callable[[], Any]) -> tuple[Watch, Any]:
    """A watch that has seen the function run, and the result of the function."""
    with torch.no_grad(), Watch() as watch:
        result = function()
    watch.result = watch.without_numbers(result)
    return watch, result


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
    """The operations of a function, to be repeated.

    The function must find its tensors in the same places each time: buffers that the caller fills, parameters that are
    updated in place. It must not decide by a number.

    Args:
        watch: has seen the function run.

    Attributes:
        result: the result of the function. Each `replay` overwrites its tensors.

    Raises:
        RuntimeError: if there is an obstacle.
    """

    def __init__(self, watch: Watch) -> None:
        if watch.obstacle:
            raise RuntimeError(f"{watch.obstacle}; expected operations that can be repeated")
        with torch.no_grad():
            plan = MemoryPlan(simplified(watch.operations, watch.result))
        self.result, self._calls = plan.result, tuple(plan.calls)

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
