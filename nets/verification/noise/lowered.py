"""The precision that a module computes in, and a copy in float64 that computes as if in it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from nets.verification.noise.rounding import FEW, StochasticRounding
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

RANGE = torch.finfo(torch.float32).smallest_normal
"""The smallest normal number of float32 and of bfloat16. Nothing smaller is modelled: gradients are not that small."""


def coarsest(problem: Problem) -> torch.dtype:
    """The floating-point type with the largest eps in which the module's forward keeps any result: bfloat16 for a module in
    float32 under autocast. The backward is not asked, so that it cannot excuse itself by its own rounding."""
    kept = _Kept()
    with kept:
        problem.evaluate()
    found = kept.dtypes | {point.dtype for point in problem.points.values()} | {problem.y.dtype}
    return max(sorted(found, key=str), key=lambda dtype: torch.finfo(dtype).eps)


def output_noise(problem: Problem, dtype: torch.dtype, seed: int) -> Tensor:
    """What rounding to that type does to each output: the largest |Y′_m − Y_m| of a few runs, and at least half a unit in
    the last place. Shape (M,)."""
    limits = torch.finfo(dtype)
    noise = problem.y.abs().clamp(min=limits.smallest_normal) * limits.eps / 2
    generator = stream(seed, "noise of the output in low precision")
    for _ in range(FEW):
        with torch.no_grad(), Lowered(generator, dtype):
            y = problem.evaluate()
        noise = torch.maximum(noise, torch.nan_to_num((y - problem.y).abs()))
    return noise


class _Kept(TorchDispatchMode):
    """Collects the floating-point types of all results."""

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
    """Where the noise of a precision is measured.

    Attributes:
        problem: a module whose results are moved at random.
        dtype: the type in which to do as if its results were kept; None for the types that they have.
    """

    problem: Problem
    dtype: torch.dtype | None

    def rounding(self, generator: torch.Generator) -> StochasticRounding:
        """The context in which the results are moved."""
        return StochasticRounding(generator) if self.dtype is None else Lowered(generator, self.dtype)


class Lowered(StochasticRounding):
    """Stochastic rounding as in a type of lower precision, where small numbers lose more of their digits than others.

    Args:
        generator: of the directions.
        dtype: the type in which to do as if the results were kept.
    """

    def __init__(self, generator: torch.Generator, dtype: torch.dtype) -> None:
        limits = torch.finfo(dtype)
        super().__init__(generator, limits.eps)
        self.smallest, self.spacing = limits.smallest_normal, limits.smallest_normal * limits.eps

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if self.smallest <= RANGE or any(value.alias_info is not None for value in func._schema.returns):
            return result
        return pytree.tree_map(self._underflowing, result)

    def _underflowing(self, value: Any) -> Any:
        """Below the smallest normal number all numbers have the same spacing: float16 keeps nothing of 10⁻⁸."""
        if type(value) is not Tensor or value.is_meta or value._is_zerotensor() or not value.is_floating_point():
            return value
        small = (value != 0) & (value.abs() < self.smallest)
        if not small.any():
            return value
        # Not all by the same amount, since two such moves might then cancel without a trace.
        part = 2 * torch.rand(value.shape, generator=self.generator, dtype=value.dtype) - 1
        return torch.where(small, value + self.spacing * part, value)
