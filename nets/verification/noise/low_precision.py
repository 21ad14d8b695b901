"""The precision that a module computes in, and stochastic rounding of its float64 copy as in that precision."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import TorchDispatchMode, has_no_numbers, pytree, returns_alias
from nets.verification.noise.output_noise import FEW_PASSES
from nets.verification.noise.rounding import StochasticRounding
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

SMALLEST_NORMAL = torch.finfo(torch.float32).smallest_normal
"""The smallest normal number of float32 and of bfloat16. Underflow below it is not modelled: gradients are not that
small."""


def coarsest(problem: Problem) -> torch.dtype:
    """The floating-point type with the largest eps among all results of the module's forward: bfloat16 for a module in
    float32 under autocast. The backward does not count: a coarse backward must not widen its own tolerance."""
    return coarsest_of(results_of(problem.evaluate) | {p.dtype for p in problem.points.values()} | {problem.y.dtype})


def results_of(call: Callable[[], object]) -> set[torch.dtype]:
    """The floating-point types of the results of all operations of a call."""
    collected = _CollectDtypes()
    with collected:
        call()
    return collected.dtypes


def coarsest_of(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """The one with the largest eps."""
    return max(sorted(dtypes, key=str), key=lambda dtype: torch.finfo(dtype).eps)


def output_noise(problem: Problem, dtype: torch.dtype, seed: int) -> Tensor:
    """The noise of each output by rounding to `dtype`: the largest |Y′_m − Y_m| of a few runs, and at least half a unit
    in the last place. Shape (M,)."""
    limits = torch.finfo(dtype)
    noise = problem.y.abs().clamp(min=limits.smallest_normal) * limits.eps / 2
    generator = stream(seed, "noise of the output in low precision")
    for _ in range(FEW_PASSES):
        with torch.no_grad(), RoundingTo(generator, dtype):
            y = problem.evaluate()
        noise = torch.maximum(noise, torch.nan_to_num((y - problem.y).abs()))
    return noise


class _CollectDtypes(TorchDispatchMode):
    """While active, collects the floating-point types of all results."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtypes = set[torch.dtype]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
        self.dtypes |= {leaf.dtype for leaf in leaves if leaf.is_floating_point()}
        return result


@dataclass(frozen=True, slots=True)
class Noisy:
    """A problem, and the precision in which its noise is measured.

    Attributes:
        problem: whose results are rounded at random.
        dtype: the type to round to; None for the types that the results have.
    """

    problem: Problem
    dtype: torch.dtype | None

    def rounding(self, generator: torch.Generator) -> StochasticRounding:
        """A mode that rounds at random in this precision."""
        return StochasticRounding(generator) if self.dtype is None else RoundingTo(generator, self.dtype)


class RoundingTo(StochasticRounding):
    """Stochastic rounding as in a type of lower precision, including its underflow.

    Args:
        generator: of the directions.
        dtype: the type to round to.
    """

    def __init__(self, generator: torch.Generator, dtype: torch.dtype) -> None:
        limits = torch.finfo(dtype)
        super().__init__(generator, limits.eps)
        self.smallest, self.spacing = limits.smallest_normal, limits.smallest_normal * limits.eps

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if self.smallest <= SMALLEST_NORMAL or returns_alias(func):
            return result
        return pytree.tree_map(self._underflow, result)

    def _underflow(self, value: Any) -> Any:
        """Move numbers below the smallest normal number by up to their spacing, which is constant there: float16
        represents nothing of size 10⁻⁸."""
        if type(value) is not Tensor or has_no_numbers(value) or not value.is_floating_point():
            return value
        small = (value != 0) & (value.abs() < self.smallest)
        if not small.any():
            return value
        # Random amounts, since two equal moves could cancel.
        part = 2 * torch.rand(value.shape, generator=self.generator, dtype=value.dtype) - 1
        return torch.where(small, value + self.spacing * part, value)
