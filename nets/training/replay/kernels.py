"""The fastest call for each operation of a recorded computation.

The choice depends on shapes, precisions and the number of threads, never on a measurement: the same settings give the
same numbers. A call of NumPy costs half of a call of PyTorch or less, and uses one thread for all operations that are
given to it here.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nets.calculus.norms import BLOCK
from nets.torch_internals import schema
from nets.training.replay.operation import Operation, tensors
from nets.training.replay.products import batched, by_blas

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
"""Elementwise operations in which NumPy is as fast as PyTorch, in contiguous memory only; of the powers only the
square."""

UFUNCS: dict[Any, Any] = CHEAP | {aten.exp.default: np.exp, aten.tanh.default: np.tanh}
"""All elementwise operations given to NumPy. Its tanh takes a seventh of the time and is right to two units in the last
place."""

FLOATS = (torch.float32, torch.float64)
WEIGHED, WEIGHTS = (aten.mul.Tensor, aten.div.Tensor), {*FLOATS, torch.bool, torch.int64}
"""Operations in which NumPy converts a mask or a count in passing, where PyTorch makes a converted copy first."""

MOST_ELEMENTWISE = 2**18
"""Numbers in a tensor up to which an elementwise operation or a sum is given to NumPy, which uses one thread, if
PyTorch has several."""

MOST_BROADCAST, MOST_BOUNDED = 2**12, 2**12
"""Numbers in a result up to which NumPy is given an operation that repeats rows or columns of an operand, or the
maximum of a tensor and a number. Beyond, PyTorch takes half of its time or less."""

MOST_SUMMED = 256
"""Rows that are added one after the other: with more, roundings would add up. PyTorch adds in pairs."""


def into(operation: Operation, place: Any) -> Call:
    """A call that writes the result of an operation to `place`, a tensor or several. It is made once here."""
    by_numpy = _by_numpy(operation, place) if isinstance(place, Tensor) else None
    candidates = (by_numpy, *_by_torch(operation, place))
    for candidate in (found for found in candidates if found is not None):
        with contextlib.suppress(TypeError, RuntimeError):
            candidate()
            return candidate
    copied = functools.partial(_copied, operation, place)
    copied()
    return copied


def copying(calls: Iterable[Call]) -> list[str]:
    """The names of operations whose results are copied to their places, since no call writes there."""
    return [str(one.args[0].function) for one in calls if isinstance(one, functools.partial) and one.func is _copied]


def _by_numpy(operation: Operation, place: Tensor) -> Call | None:
    function, args, kwargs, _ = operation
    given = tensors(args)
    if not given or any(t.device.type != "cpu" for t in (*given, place)):
        return None
    if function is aten.sum.default and given[0].numel() <= MOST_ELEMENTWISE:
        return _total(given[0], place)
    if function is aten._to_copy.default:
        return _converted(given[0], place)
    if kwargs:
        return None
    if function in EXACT and given[0].numel() <= MOST_ELEMENTWISE:
        return EXACT[function](*args, place=place)
    if place.dtype not in FLOATS:
        return None
    weighed = function in WEIGHED and place.dtype in {t.dtype for t in given} and {t.dtype for t in given} <= WEIGHTS
    if not weighed and any(t.dtype != place.dtype for t in given):
        return None
    if function in (aten.mm.default, aten.addmm.default):
        *bias, one, other = (t.numpy() for t in given)
        return by_blas(bias, one, other, place.numpy(), torch.get_num_threads())
    if function is aten.matmul.default:
        one, other = (t.numpy() for t in given)
        return batched(one, other, place.numpy(), torch.get_num_threads())
    if function is not aten.tanh.default and torch.get_num_threads() > 1 and _largest(given) > MOST_ELEMENTWISE:
        return None
    if function in UFUNCS:
        return _elementwise(operation, place)
    return REDUCED[function](*args, place=place) if function in REDUCED else None


def _largest(given: list[Tensor]) -> int:
    return max(t.numel() for t in given)


def _elementwise(operation: Operation, place: Tensor) -> Call | None:
    function, args, _, _ = operation
    if function in CHEAP and not all(t.is_contiguous() for t in (*tensors(args), place)):
        return None
    if place.numel() > MOST_BROADCAST and any(t.numel() not in (1, place.numel()) for t in tensors(args)):
        return None
    if function is aten.pow.Tensor_Scalar and args[1] != 2:
        return None
    # Numbers are converted once, to the precision of the tensors.
    arrays = [a.numpy() if isinstance(a, Tensor) else np.asarray(a, place.numpy().dtype) for a in args]
    return functools.partial(UFUNCS[function], *arrays, out=place.numpy())


def _total(t: Tensor, place: Tensor) -> Call | None:
    """Σ_k t_k over all entries: of numbers in pairs, of a mask its number of entries."""
    if not t.is_contiguous() or t.dtype not in (*FLOATS, torch.bool):
        return None
    out = place.numpy()
    return functools.partial(np.add.reduce, t.view(-1).numpy(), dtype=out.dtype, out=out)


def _mean(t: Tensor, place: Tensor) -> Call | None:
    """1/K Σ_k t_k over all entries, added in pairs."""
    if not t.is_contiguous():
        return None
    flat, out = t.view(-1).numpy(), place.numpy()
    count = np.asarray(t.numel(), flat.dtype)

    def mean() -> None:
        np.add.reduce(flat, out=out)
        np.divide(out, count, out)

    return mean


def _sums(t: Tensor, dims: list[int] | None, keepdim: bool = False, *, place: Tensor) -> Call | None:
    """Σ_n t_nk or Σ_k t_nk as a product with ones."""
    if _of_rows(t, dims):
        return _row_sums(t, 1.0, place)
    if (
        keepdim
        or t.ndim != 2
        or dims is None
        or [dim % 2 for dim in dims] != [0]
        or len(t) > MOST_SUMMED
        or t.stride(1) != 1
    ):
        return None
    return functools.partial(np.matmul, np.ones(len(t), t.numpy().dtype), t.numpy(), place.numpy())


def _means(t: Tensor, dims: list[int] | None, keepdim: bool = False, *, place: Tensor) -> Call | None:
    """1/K Σ_k t_nk as a product with 1/K."""
    return _row_sums(t, 1 / t.shape[-1], place) if _of_rows(t, dims) else None


def _of_rows(t: Tensor, dims: list[int] | None) -> bool:
    """Whether a sum is over the last of several axes, in contiguous memory."""
    return (
        dims is not None
        and t.ndim > 1
        and t.numel() > 0
        and t.is_contiguous()
        and [dim % t.ndim for dim in dims] == [t.ndim - 1]
    )


def _row_sums(t: Tensor, factor: float, place: Tensor) -> Call | None:
    """Σ_k t_nk factor."""
    rows = t.view(-1, t.shape[-1]).numpy()
    factors = np.full((t.shape[-1], 1), factor, rows.dtype)
    return by_blas([], rows, factors, place.view(-1, 1).numpy(), torch.get_num_threads())


def _row_norms(
    t: Tensor, order: float = 2, dims: list[int] | None = None, keepdim: bool = False, *, place: Tensor
) -> Call | None:
    """(Σ_k t_nk²)^½."""
    if keepdim or order != 2 or dims is None or t.ndim != 2 or [dim % 2 for dim in dims] != [1] or t.shape[1] > BLOCK:
        return None
    array, out = t.numpy(), place.numpy()

    def norms() -> None:
        np.vecdot(array, array, out)
        np.sqrt(out, out)

    return norms


def _at_least(t: Tensor, least: Any = None, most: Any = None, *, place: Tensor) -> Call | None:
    """max(t, least)."""
    small = t.numel() <= MOST_BOUNDED
    return _with_bound(np.maximum, t, least, place=place) if most is None and small else None


def _converted(t: Tensor, place: Tensor) -> Call | None:
    """A mask as numbers 0 and 1."""
    if t.dtype != torch.bool or place.dtype not in FLOATS:
        return None
    return functools.partial(np.copyto, place.numpy(), t.numpy())


def _with_bound(function: Callable[..., object], t: Tensor, bound: Any, *, place: Tensor) -> Call | None:
    """function(t, bound), unless the precision of t cannot hold the bound."""
    if bound is None or t.dtype not in WEIGHTS or np.asarray(bound, t.numpy().dtype) != bound:
        return None
    return functools.partial(function, t.numpy(), np.asarray(bound, t.numpy().dtype), out=place.numpy())


EXACT: dict[Any, Callable[..., Call | None]] = {
    aten.clamp.default: _at_least,
    aten.ge.Scalar: functools.partial(_with_bound, np.greater_equal),
    aten.gt.Scalar: functools.partial(_with_bound, np.greater),
}
"""Operations without rounding, such as those that say which targets count, in any of the precisions here."""

REDUCED: dict[Any, Callable[..., Call | None]] = {
    aten.mean.default: _mean,
    aten.mean.dim: _means,
    aten.sum.dim_IntList: _sums,
    aten.linalg_vector_norm.default: _row_norms,
}
"""Sums and norms over one axis, and the mean over all entries."""


def _by_torch(operation: Operation, place: Any) -> list[Call | None]:
    """Calls of PyTorch, fastest first: a function of torch costs a microsecond less than the operator beneath it."""
    function, args, kwargs, _ = operation
    if not isinstance(place, Tensor):
        several = getattr(function.overloadpacket, "out", None)
        if several is None:
            return []
        names = [argument.name for argument in schema(several).arguments if argument.is_out]
        return [functools.partial(several, *args, **kwargs, **dict(zip(names, tensors(place), strict=False)))]
    if function is aten.rsub.Scalar and not kwargs and len(args) == 2:  # rsub has no out
        t, one = args
        return [functools.partial(torch.sub, torch.tensor(one, dtype=t.dtype), t, out=place)]
    if function in (aten.clone.default, aten._to_copy.default):  # `place` has the precision that is asked for
        return [functools.partial(place.copy_, args[0])]
    if function is aten.masked_fill.Scalar:
        chosen = torch.tensor(args[2], dtype=place.dtype, device=place.device)
        return [functools.partial(torch.where, args[1], chosen, args[0], out=place)]
    if function is aten.relu.default:  # a third of the time of relu
        return [functools.partial(torch.clamp_min, args[0], 0, out=place)]
    if function in FILLED:  # nor have these
        value = FILLED[function]
        return [functools.partial(place.fill_, args[1] if value is None else value)]
    name = schema(function).name.removeprefix("aten::")
    found = (getattr(torch, name, None), getattr(function.overloadpacket, "out", None))
    return [candidate and functools.partial(candidate, *args, **kwargs, out=place) for candidate in found]


FILLED: dict[Any, float | None] = {
    aten.zeros_like.default: 0.0,
    aten.ones_like.default: 1.0,
    aten.full_like.default: None,
}
"""Operations whose result is one number everywhere; None where it is the second argument."""


def _copied(operation: Operation, place: Any) -> None:
    result = operation.function(*operation.args, **operation.kwargs)
    for one, new in zip(tensors(place), tensors(result), strict=True):
        one.copy_(new)
