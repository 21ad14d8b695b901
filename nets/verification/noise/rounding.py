"""Stochastic rounding: each operation's result is moved up or down by a unit in its last place, at random.

The change of the end result shows the size of its rounding error. Source: Vignes, "A stochastic arithmetic for reliable
scientific computation", Mathematics and Computers in Simulation 35 (1993).
"""

import math
from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import TorchDispatchMode, has_no_numbers, lazy_conjugation, operators, pytree, returns_alias
from nets.verification.problem.calling.control_flow import OrdinaryControlFlow

ROUNDING_SAFETY = 32.0
"""Two derivations without truncation error agree to a few units of the rounding noise. An entry is wrong if they differ
by this many units."""

ROUNDING_MOVE = 0.745
"""The part of eps by which a result is moved: this is between half a unit in the last place and one and a half."""

EXACT_INTEGERS = 64
"""Whole numbers up to this count as exact; bfloat16 represents nothing but whole numbers from 128 on."""

SATURATING = operators("tanh sigmoid erf _softmax")
"""Functions whose result is a whole number other than zero only by rounding: tanh 25 is 1."""

ADDS_ONE = operators("gelu gelu_backward")
"""Functions that compute 1 + erf(X/√2) in one kernel."""

UNROUNDED = operators("abs neg amax amin aminmax max min median nanmedian scatter_reduce index_reduce segment_reduce")
"""Functions that return numbers of their arguments, up to sign. Nothing is rounded, and a backward may compare the
result with the arguments."""

SUMS_OF_MANY = operators(
    "embedding_dense_backward index_put index_put_ _index_put_impl_ index_add index_add_ scatter_add scatter_add_"
)
"""Functions that add many numbers to few, one after the other: the error of each sum is up to half a unit for each
term."""

TERMS_PER_UNIT = 16
"""Such a sum is moved by one unit in its last place for this many terms. With ROUNDING_SAFETY this covers the largest
error that the sum can have."""


class StochasticRounding(TorchDispatchMode):
    """While active, floating-point results of operations are one unit in the last place higher or lower.

    Args:
        generator: of the directions.
        eps: the eps of a coarser precision to round to; results that are coarser already are rounded to their own
            precision.
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
        with lazy_conjugation():
            result = func(*args, **(kwargs or {}))
        if func.overloadpacket in SUMS_OF_MANY:
            sizes = [tensor.numel() for tensor in pytree.tree_leaves(args) if isinstance(tensor, Tensor)]
            terms = max(sizes) / max(1, result.numel())
            moved = self._round(result, False, max(1.0, terms / TERMS_PER_UNIT))
            return result.copy_(moved) if returns_alias(func) else moved
        # A view, or a tensor that is written in place, must stay the same tensor. A norm of order ∞ returns one of its
        # numbers.
        if (
            returns_alias(func)
            or func.overloadpacket in UNROUNDED
            or any(isinstance(arg, float) and math.isinf(arg) for arg in args)
        ):
            return result
        if func.overloadpacket in ADDS_ONE:
            # The sum has the rounding error of 1, even where it is small. The first argument is a factor of the result.
            return result + (self._round(args[0], True) - args[0])
        saturating = func.overloadpacket in SATURATING
        if isinstance(result, Tensor):
            return self._round(result, saturating)
        return pytree.tree_map(lambda value: self._round(value, saturating), result)

    def _round(self, value: Any, integers_too: bool, units: float = 1.0) -> Any:
        if not isinstance(value, Tensor) or value.is_sparse or not (value.is_floating_point() or value.is_complex()):
            return value
        if has_no_numbers(value):
            return value
        # Eight random bytes from each draw, since drawing takes most of the time. The sign of a byte is the direction.
        words = torch.empty((value.numel() + 7) // 8, dtype=torch.int64).random_(
            -(2**63), None, generator=self.generator
        )
        direction = ((words.view(torch.int8)[: value.numel()] >> 7) | 1).view(value.shape).to(value.dtype)
        step = units * ROUNDING_MOVE * max(torch.finfo(value.dtype).eps, self.eps)
        if not value.is_complex() and not integers_too:
            # Labels, masks and counts are small whole numbers, which are exact and must stay so.
            whole = value == value.round()
            if whole.any():
                size = value.abs()
                # The largest number of the type is treated as infinity.
                direction.masked_fill_((whole & (size <= EXACT_INTEGERS)) | (size == torch.finfo(value.dtype).max), 0)
                # An infinite number, as in an attention mask, stays as it is.
                return torch.where(value.isinf(), value, torch.addcmul(value, value, direction, value=step))
        return torch.addcmul(value, value, direction, value=step)


class WithoutRounding(StochasticRounding):
    """The same mode with exact results. If a gradient changes, the cause is the mode and not rounding."""

    def __init__(self) -> None:
        super().__init__(torch.Generator())

    def _round(self, value: Any, integers_too: bool, units: float = 1.0) -> Any:
        return value


def unit_roundoff(dtype: torch.dtype) -> float:
    """u, half the distance from 1 to the next larger number."""
    return torch.finfo(dtype).eps / 2
