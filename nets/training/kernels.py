"""Operations of a recorded computation, each in the fastest form that there is for it.

What is chosen depends on shapes and precisions alone, never on a measurement, so that the same settings give the same numbers.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

aten = torch.ops.aten

Call = Callable[[], object]

CHEAP: dict[Any, Any] = {
    aten.add.Tensor: np.add,
    aten.sub.Tensor: np.subtract,
    aten.mul.Tensor: np.multiply,
    aten.div.Tensor: np.divide,
    aten.neg.default: np.negative,
    aten.rsub.Scalar: lambda s, one, out: np.subtract(one, s, out=out),
}
"""Elementwise operations that NumPy does as fast as PyTorch, and is called in half the time; as fast in contiguous memory only."""

UFUNCS: dict[Any, Any] = CHEAP | {aten.exp.default: np.exp, aten.tanh.default: np.tanh}
"""All that is left to NumPy. Its tanh, right to two units in the last place, takes a seventh of the time."""

ONE_THREAD = 2**18
"""Numbers in a result up to which an elementwise operation is left to NumPy, which uses one thread."""


class Operation(NamedTuple):
    """One call that reached the dispatcher, and what it returned."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any = None

    @property
    def views(self) -> bool:
        """Whether the result is another look at an argument."""
        return any(value.alias_info is not None and not value.alias_info.is_write for value in self.function._schema.returns)

    @property
    def writes(self) -> bool:
        """Whether the result is an argument, written to."""
        return any(value.alias_info is not None and value.alias_info.is_write for value in self.function._schema.returns)


def into(operation: Operation, place: Tensor) -> Call:
    """A call that does the operation and writes its result to a place. It is done once here."""
    candidates = (_by_numpy(operation, place), _few_columns(operation, place), *_by_torch(operation, place))
    for candidate in (found for found in candidates if found is not None):
        with contextlib.suppress(TypeError, RuntimeError):
            candidate()
            return candidate
    copied = functools.partial(_copied, operation, place)
    copied()
    return copied


def tensors(tree: Any) -> list[Tensor]:
    """Every tensor among arguments or results."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _by_numpy(operation: Operation, place: Tensor) -> Call | None:
    function, args, kwargs, _ = operation
    alike = all(t.dtype == place.dtype and t.device.type == "cpu" for t in (*tensors(args), place))
    if function not in UFUNCS or kwargs or not alike or place.numel() > ONE_THREAD or not place.is_floating_point():
        return None
    if function in CHEAP and not all(t.is_contiguous() for t in (*tensors(args), place)):
        return None
    # Numbers are converted once, and to the precision of the rest.
    arrays = [a.numpy() if isinstance(a, Tensor) else np.asarray(a, place.numpy().dtype) for a in args]
    return functools.partial(UFUNCS[function], *arrays, out=place.numpy())


def _few_columns(operation: Operation, place: Tensor) -> Call | None:
    """X Wᵀ + B as (W Xᵀ)ᵀ + B, for few columns, which BLAS libraries are made for only where they are a multiple of 16."""
    function, args, kwargs, _ = operation
    if function is not aten.addmm.default or kwargs or place.dtype != torch.float32 or place.device.type != "cpu":
        return None
    b, x, w = args[0], args[1].mT, args[2].mT
    if len(w) % 16 == 0 or not 6 <= len(w) < 32 or x.numel() < 2**13:
        return None
    turned = torch.empty(place.mT.shape)
    columns = turned.mT

    def product() -> None:
        torch.mm(w, x, out=turned)
        torch.add(columns, b, out=place)

    return product


def _by_torch(operation: Operation, place: Tensor) -> list[Call | None]:
    """The functions of torch are a microsecond faster to call than the operators beneath them."""
    function, args, kwargs, _ = operation
    name = function._schema.name.removeprefix("aten::")
    found = (getattr(torch, name, None), getattr(function.overloadpacket, "out", None))
    return [candidate and functools.partial(candidate, *args, **kwargs, out=place) for candidate in found]


def _copied(operation: Operation, place: Tensor) -> None:
    place.copy_(operation.function(*operation.args, **operation.kwargs))
