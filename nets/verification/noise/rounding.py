"""How many digits of an output and of a gradient are noise, measured by stochastic arithmetic.

Each operation's result is moved up or down by a unit in its last place, as a result that is rounded at random may
be; what then changes in the end result is what rounding alone can change. Source: Vignes, "A stochastic
arithmetic for reliable scientific computation", Mathematics and Computers in Simulation 35 (1993).
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from nets.errors import InputError
from nets.verification.problem.control_flow import OrdinaryControlFlow
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import signed, stream

ROUNDING_SAFETY = 32.0
"""Two derivations without truncation error agree to a few units of the rounding noise; an entry off by 32 of them is wrong."""

PASSES = 16
"""Random runs to find the noise of each output, of which the largest deviation counts: in one run, two errors may well cancel."""

FEW = 4
"""Random runs where only the largest of many deviations counts, or the length of the vector of them."""

BESIDE = 2.0**-20
"""How far beside a point, in parts of its numbers, the noise is measured as well."""

PLACES, APART, ORDERS = 16, 2.0**-34, range(3, 9)
"""The places on a line along which an output is seen to jitter, how far they are apart, in parts of the point's numbers, and the
orders of the differences that show it."""

MOVED = 0.745
"""The part of eps by which a result is moved: more than half of its last digit's unit and less than one and a half."""

WHOLE = 64
"""Whole numbers up to this are taken for exact; bfloat16 has nothing but whole numbers from 128 on."""


SATURATING = {torch.ops.aten.tanh, torch.ops.aten.sigmoid, torch.ops.aten.erf, torch.ops.aten._softmax}
"""Functions that come to a whole number other than zero by rounding alone: tanh 25 is 1."""


WITH_ONE = {torch.ops.aten.gelu, torch.ops.aten.gelu_backward}
"""Functions that add 1 + erf(X/√2) in one kernel."""


EXACT = {
    torch.ops.aten.abs, torch.ops.aten.neg, torch.ops.aten.amax, torch.ops.aten.amin, torch.ops.aten.aminmax, torch.ops.aten.max,
    torch.ops.aten.min, torch.ops.aten.median, torch.ops.aten.nanmedian, torch.ops.aten.scatter_reduce,
    torch.ops.aten.index_reduce, torch.ops.aten.segment_reduce,
}  # fmt: skip
"""Functions that give numbers as they find them, but for the sign: nothing is rounded, and a backward may look for that number."""


ADDING = {
    torch.ops.aten.embedding_dense_backward, torch.ops.aten.index_put, torch.ops.aten.index_put_, torch.ops.aten._index_put_impl_,
    torch.ops.aten.index_add, torch.ops.aten.index_add_, torch.ops.aten.scatter_add, torch.ops.aten.scatter_add_,
}  # fmt: skip
"""Functions that add many numbers, one after the other, to few: each sum is off by up to half a unit for each of its terms."""

TERMS = 16
"""Terms of such a sum for which it is moved by one unit in its last place; to be off by more than ROUNDING_SAFETY times that, it
would have to be off by more than it can be."""


class StochasticRounding(TorchDispatchMode):
    """While active, floating-point results of operations end one unit in the last place higher or lower.

    Args:
        generator: of the directions.
        eps: twice the unit roundoff of the precision in which to do as if the results were kept, where they have a better one.
    """

    def __init__(self, generator: torch.Generator, eps: float = 0.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator, self.eps = generator, eps
        self._control_flow = OrdinaryControlFlow(self)

    def __enter__(self) -> "StochasticRounding":
        self._control_flow.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._control_flow.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with _lazily_conjugated():
            result = func(*args, **(kwargs or {}))
        if func.overloadpacket in ADDING:
            terms = max(tensor.numel() for tensor in pytree.tree_leaves(args) if isinstance(tensor, Tensor)) / max(
                1, result.numel()
            )
            moved = self._perturb(result, False, max(1.0, terms / TERMS))
            return result.copy_(moved) if _aliases(func) else moved
        # A view, or a tensor written in place, must stay the tensor that it is. A norm of order ∞ gives one of its numbers.
        if _aliases(func) or func.overloadpacket in EXACT or any(isinstance(arg, float) and math.isinf(arg) for arg in args):
            return result
        if func.overloadpacket in WITH_ONE:
            # The sum is rounded as 1 is, however little of it is left, and its first argument is a factor of it.
            return result + (self._perturb(args[0], True) - args[0])
        saturating = func.overloadpacket in SATURATING
        if isinstance(result, Tensor):
            return self._perturb(result, saturating)
        return pytree.tree_map(lambda value: self._perturb(value, saturating), result)

    def _perturb(self, value: Any, whole_too: bool, units: float = 1.0) -> Any:
        if not isinstance(value, Tensor) or value.is_sparse or not (value.is_floating_point() or value.is_complex()):
            return value
        if _has_no_numbers(value):
            return value
        # Eight draws of a byte at once, since drawing is what takes the time; the sign of each is what counts.
        words = torch.empty((value.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        part = ((words.view(torch.int8)[: value.numel()] >> 7) | 1).view(value.shape).to(value.dtype)
        by = units * MOVED * max(torch.finfo(value.dtype).eps, self.eps)
        if not value.is_complex() and not whole_too:
            # Labels, masks and counts that are kept as small whole numbers carry no rounding, and may be nothing else.
            whole = value == value.round()
            if whole.any():
                size = value.abs()
                # The largest number there is stands for an infinite one.
                part.masked_fill_((whole & (size <= WHOLE)) | (size == torch.finfo(value.dtype).max), 0)
                # Nor does an infinite number, such as a mask of what is not to be attended to.
                return torch.where(value.isinf(), value, torch.addcmul(value, value, part, value=by))
        return torch.addcmul(value, value, part, value=by)


class Unmoved(StochasticRounding):
    """The same mode with results as they are: what it changes is no rounding."""

    def __init__(self) -> None:
        super().__init__(torch.Generator())

    def _perturb(self, value: Any, whole_too: bool, units: float = 1.0) -> Any:
        return value


@contextlib.contextmanager
def _lazily_conjugated() -> Iterator[None]:
    """Meanwhile an operation below a dispatch mode may conjugate lazily. PyTorch switches that off there, although some operations,
    such as `linalg.pinv`, call others with lazily conjugated numbers, which then come out wrong."""
    keys = torch._C.DispatchKey
    with torch._C._SetExcludeDispatchKeyGuard(keys.Conjugate, False), torch._C._SetExcludeDispatchKeyGuard(keys.Negative, False):
        yield


def _has_no_numbers(value: Tensor) -> bool:
    """Whether a tensor has a shape and a type alone: autograd computes with such tensors where it needs no more, as for the shape
    of a sum with a zero that has no memory."""
    return value._is_zerotensor() or value.is_meta or is_fake(value)


@functools.cache
def _aliases(func: Any) -> bool:
    """Whether an operation gives a view of what it is given, or writes to it."""
    return any(value.alias_info is not None for value in func._schema.returns)


def unit_roundoff(dtype: torch.dtype) -> float:
    """u, half the distance from 1 to the next number."""
    return torch.finfo(dtype).eps / 2


def output_floor(problem: Problem, seed: int, passes: int = PASSES, eps: float = 0.0) -> Tensor:
    """The noise of each output: max over the passes of |Y′_m − Y_m|, and at least u |Y_m|; with `eps` what it would be in
    the precision that has it. Shape (M,).

    A quarter as many passes are made beside the point: at the point itself numbers may be whole, or equal and cancel, so that
    nothing is rounded there, while differences are taken beside it. What an operation rounds within itself, such as the sum in a
    log-softmax, no pass can move; it is seen in how Y jitters along a line."""
    generator = stream(seed, "rounding of the output")
    # A result that underflows is off by up to half of the smallest number, however small it is itself.
    numbers = torch.finfo(problem.y.dtype)
    floor = (problem.y.abs() * problem.unit.clamp(min=eps / 2)).clamp_(min=numbers.smallest_normal * numbers.eps)
    floor = torch.maximum(floor, _largest_change(problem, problem.y, generator, passes, eps))
    if not eps:
        floor = torch.maximum(floor, 3 * _jitter(problem, seed))
    try:
        with beside(problem, seed), torch.no_grad():
            return torch.maximum(floor, _largest_change(problem, problem.evaluate(), generator, passes // 4, eps))
    except InputError:  # the edge of the domain
        return floor


def _jitter(problem: Problem, seed: int) -> Tensor:
    """The standard deviation of the noise of each output along a line: the least over k of median_i |Δᵏ Y(i)| / √C(2k, k) / 0.67.
    Shape (M,); zero where the line leaves the domain.

    Of noise alone all orders show the same. What is smooth shows less at a high order, although it may turn within a billionth; a
    kink or a jump on the line touches few differences of a low order, so that their median does not see it.
    Source: Moré and Wild, "Estimating computational noise", SIAM Journal on Scientific Computing 33 (2011).
    """
    ways = {name: _way(point, stream(seed, "jitter", name)) for name, point in problem.points.items()}
    found = []
    try:
        with problem.put_back() as here:
            # Beside the point, which may be a kink or the place of a jump.
            for place in range(1, PLACES + 1):
                for name, point in problem.points.items():
                    point.copy_(here[name] + place * ways[name])
                found.append(problem.evaluate())
    except InputError:  # the edge of the domain
        return torch.zeros_like(problem.y)
    table = torch.stack(found)
    shown = [table.diff(k, dim=0).abs().median(0).values / (0.67 * math.sqrt(math.comb(2 * k, k))) for k in ORDERS]
    return torch.nan_to_num(torch.stack(shown).amin(0), nan=0.0, posinf=0.0)


def _way(point: Tensor, generator: torch.Generator) -> Tensor:
    """A step up or down for each number, by a power of two, so that no multiple of it is rounded."""
    _, exponent = torch.frexp(point)
    sign = torch.randint(0, 2, point.shape, generator=generator).to(point.dtype) * 2 - 1
    return torch.where(point == 0, 0.0, torch.ldexp(sign * APART / 2, exponent))


@contextlib.contextmanager
def beside(problem: Problem, seed: int) -> Iterator[None]:
    """Meanwhile every number of every point is up to a millionth larger or smaller."""
    with problem.put_back():
        for name, point in problem.points.items():
            point.mul_(1 + BESIDE * signed(point.numel(), stream(seed, "beside the point", name)).view(point.shape).to(point.dtype))
        yield


def _largest_change(problem: Problem, exact: Tensor, generator: torch.Generator, passes: int, eps: float) -> Tensor:
    """max over the passes of |Y′_m − Y_m| where the points are now, shape (M,)."""
    largest = torch.zeros_like(exact)
    for _ in range(passes):
        with torch.no_grad(), StochasticRounding(generator, eps):
            y = problem.evaluate()
        largest = torch.maximum(largest, torch.nan_to_num((y - exact).abs()))
    return largest
