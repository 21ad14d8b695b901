"""How many digits of an output and of a gradient are noise, measured by stochastic arithmetic.

Each operation's result is multiplied by 1 + u r, with u the unit roundoff and r = ±1 at random; what then changes in the end
result is what rounding alone can change. Source: Vignes, "A stochastic arithmetic for reliable scientific computation",
Mathematics and Computers in Simulation 35 (1993).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nets.verification.problem import Problem

PASSES = 4
"""Random runs per estimate; the largest deviation counts."""


class StochasticRounding(TorchDispatchMode):
    """While active, every operation's floating-point result is off by one unit roundoff, up or down at random."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # A view, or a tensor written in place, must stay the tensor that it is.
        if any(value.alias_info is not None for value in func._schema.returns):
            return result
        return torch.utils._pytree.tree_map(self._perturb, result)

    def _perturb(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        signs = torch.randint(0, 2, value.shape, generator=self.generator, dtype=value.dtype) * 2 - 1
        return value * (1 + torch.finfo(value.dtype).eps / 2 * signs)


def output_floor(problem: Problem, seed: int) -> Tensor:
    """The noise of each output: max over the passes of |Y′_m − Y_m|, and at least u |Y_m|. Shape (M,)."""
    generator = torch.Generator().manual_seed(seed)
    floor = problem.y.abs() * torch.finfo(problem.y.dtype).eps / 2
    for _ in range(PASSES):
        with torch.no_grad(), StochasticRounding(generator):
            y = problem(problem.points)
        floor = torch.maximum(floor, (y - problem.y).abs())
    return floor


def gradient_floor(problem: Problem, jacobians: Mapping[str, Tensor], seed: int, rows: int = 16) -> dict[str, float]:
    """The noise of the derivatives by each point: the largest change that rounding makes in any entry of ∂Y/∂point.

    Measured by reverse mode on at most `rows` outputs chosen at random, and at least u times the largest entry.
    """
    generator = torch.Generator().manual_seed(seed)
    floor = {name: float(j.abs().max()) * torch.finfo(j.dtype).eps / 2 for name, j in jacobians.items() if j.numel()}
    chosen = torch.randperm(len(problem.y), generator=generator)[:rows]
    for _ in range(PASSES):
        points = {name: point.clone().requires_grad_() for name, point in problem.points.items()}
        with StochasticRounding(generator):
            y = problem(points)
            for row in chosen.tolist():
                gradients = torch.autograd.grad(y[row], list(points.values()), retain_graph=True, allow_unused=True)
                for name, gradient in zip(points, gradients, strict=True):
                    if gradient is not None and gradient.numel():
                        floor[name] = max(floor[name], float((gradient - jacobians[name][row]).abs().max()))
    return floor
