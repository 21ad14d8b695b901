"""Operations of a recorded computation, each in the fastest form that there is for it.

What is chosen depends on shapes, precisions and the number of threads, never on a measurement: the same settings give the same
numbers. NumPy is called in half the time that PyTorch is, or less, and uses one thread for all that is left to it here.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nets.calculus.norms import BLOCK
from nets.torch_internals import pytree, schema
from nets.training.replay.products import by_blas

aten = torch.ops.aten

Call = Callable[[], object]

CHEAP: dict[Any, Any] = {
    aten.add.Tensor: np.add,
    aten.sub.Tensor: np.subtract,
    aten.mul.Tensor: np.multiply,
    aten.div.Tensor: np.divide,
    aten.neg.default: np.negative,
    aten.rsub.Scalar: lambda s, one, out: np.subtract(one, s, out=out),
    aten.pow.Tensor_Scalar: lambda s, power, out: np.square(s, out=out),
}
"""Elementwise operations that NumPy does as fast as PyTorch in contiguous memory, and only there; of powers the square."""

UFUNCS: dict[Any, Any] = CHEAP | {aten.exp.default: np.exp, aten.tanh.default: np.tanh}
"""All elementwise operations left to NumPy. Its tanh, right to two units in the last place, takes a seventh of the time."""

ONE_THREAD = 2**18
"""Numbers up to which an operation that goes over each of them is left to NumPy."""

ADDED = 256
"""Numbers that are added up one after the other at most; of more, the roundings would add up as well."""


class Operation(NamedTuple):
    """One call that reached the dispatcher, and what it returned."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any = None

    @property
    def views(self) -> bool:
        """Whether the result is a view of an argument."""
        return any(value.alias_info is not None and not value.alias_info.is_write for value in schema(self.function).returns)

    @property
    def writes(self) -> bool:
        """Whether the result is an argument that the operation has written to."""
        return any(value.alias_info is not None and value.alias_info.is_write for value in schema(self.function).returns)

    @property
    def written(self) -> list[Tensor]:
        """The arguments that the operation writes to."""
        found = []
        for place, argument in enumerate(schema(self.function).arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                found.append(self.args[place] if place < len(self.args) else self.kwargs.get(argument.name))
        return tensors(found)


def into(operation: Operation, place: Tensor) -> Call:
    """A call that does the operation and writes its result to a place. It is done once here."""
    candidates = (_by_numpy(operation, place), *_by_torch(operation, place))
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
    given = tensors(args)
    alike = all(t.device.type == "cpu" and t.dtype == place.dtype for t in (*given, place))
    if kwargs or not given or not alike or place.dtype not in (torch.float32, torch.float64):
        return None
    if function in (aten.mm.default, aten.addmm.default):
        *bias, one, other = (t.numpy() for t in given)
        return by_blas(bias, one, other, place.numpy(), torch.get_num_threads())
    if max(t.numel() for t in given) > ONE_THREAD:
        return None
    if function in UFUNCS:
        return _elementwise(operation, place)
    return REDUCED[function](*args, place=place) if function in REDUCED else None


def _elementwise(operation: Operation, place: Tensor) -> Call | None:
    function, args, _, _ = operation
    if function in CHEAP and not all(t.is_contiguous() for t in (*tensors(args), place)):
        return None
    if function is aten.pow.Tensor_Scalar and args[1] != 2:
        return None
    # Numbers are converted once, and to the precision of the rest.
    arrays = [a.numpy() if isinstance(a, Tensor) else np.asarray(a, place.numpy().dtype) for a in args]
    return functools.partial(UFUNCS[function], *arrays, out=place.numpy())


def _mean(t: Tensor, place: Tensor) -> Call | None:
    """1/K Σ_k t_k over all entries, added up in pairs of pairs."""
    if not t.is_contiguous():
        return None
    flat, out = t.view(-1).numpy(), place.numpy()
    count = np.asarray(t.numel(), flat.dtype)

    def mean() -> None:
        np.add.reduce(flat, out=out)
        np.divide(out, count, out)

    return mean


def _columns_added(t: Tensor, dims: list[int], place: Tensor) -> Call | None:
    """Σ_n t_nk as a product with ones."""
    if t.ndim != 2 or [dim % 2 for dim in dims] != [0] or len(t) > ADDED or t.stride(1) != 1:
        return None
    return functools.partial(np.matmul, np.ones(len(t), t.numpy().dtype), t.numpy(), place.numpy())


def _row_norms(t: Tensor, order: float, dims: list[int], place: Tensor) -> Call | None:
    """(Σ_k t_nk²)^½."""
    if order != 2 or t.ndim != 2 or [dim % 2 for dim in dims] != [1] or t.shape[1] > BLOCK:
        return None
    array, out = t.numpy(), place.numpy()

    def norms() -> None:
        np.vecdot(array, array, out)
        np.sqrt(out, out)

    return norms


REDUCED: dict[Any, Callable[..., Call | None]] = {
    aten.mean.default: _mean,
    aten.sum.dim_IntList: _columns_added,
    aten.linalg_vector_norm.default: _row_norms,
}
"""Sums over some of the entries."""


def _by_torch(operation: Operation, place: Tensor) -> list[Call | None]:
    """The functions of torch are a microsecond faster to call than the operators beneath them."""
    function, args, kwargs, _ = operation
    if function is aten.rsub.Scalar and not kwargs and len(args) == 2:  # which has no out
        t, one = args
        return [functools.partial(torch.sub, torch.tensor(one, dtype=t.dtype), t, out=place)]
    name = schema(function).name.removeprefix("aten::")
    found = (getattr(torch, name, None), getattr(function.overloadpacket, "out", None))
    return [candidate and functools.partial(candidate, *args, **kwargs, out=place) for candidate in found]


def _copied(operation: Operation, place: Tensor) -> None:
    place.copy_(operation.function(*operation.args, **operation.kwargs))
