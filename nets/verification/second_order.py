"""The gradient of the gradient: a module whose output is the gradient of another, to be verified like any module."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from nets.calculus.function import ClosedForm
from nets.calculus.network import Network
from nets.verification.leaves import as_real, differentiable, flattened
from nets.verification.problem import Problem
from nets.verification.randomness import stream

EVERY_ROW = 256
"""Numbers in parameters and inputs up to which every entry of the gradient is an output; beyond, eight random sums of them are."""


class GradientOf(nn.Module):
    """X → Σ_m v_m ∂Y_m/∂p for every point p of a problem, as {name: gradient}; differentiable.

    Args:
        problem: what is differentiated first, a `Network` by its closed form.
        seed: of v, and of the sums where there are many entries.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__()
        network = problem.module
        self.module = ClosedForm(network) if isinstance(network, Network) else network
        self.names = [name for name, parameter in self.module.named_parameters() if parameter.requires_grad]
        size = sum(point.numel() for point in problem.points.values())
        self.v = torch.rand(len(problem.y), generator=stream(seed, "cotangent of the first order"), dtype=torch.float64) + 0.5
        rows = torch.randint(0, 2, (8, size), generator=stream(seed, "sums of the gradient")).double() * 2 - 1
        self.sums = rows if size > EVERY_ROW else None

    def forward(self, *inputs: Any) -> dict[str, Tensor] | Tensor:
        """The gradients, or eight sums of their entries."""
        # Where nobody differentiates any further, no second graph is recorded.
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            named = dict(self.module.named_parameters())
            points = {name: _tracked(named[name]) for name in self.names}
            leaves, structure = pytree.tree_flatten(inputs)
            leaves = [_tracked(leaf) if differentiable(leaf) else leaf for leaf in leaves]
            output = functional_call(self.module, points, tuple(pytree.tree_unflatten(leaves, structure)))
            y = flattened(output)
            points |= {f"input[{i}]": leaf for i, leaf in enumerate(leaves) if differentiable(leaf)}
            found = torch.autograd.grad(
                self.v @ y, list(points.values()), create_graph=further, allow_unused=True, materialize_grads=True
            )
        if self.sums is not None:
            return self.sums @ torch.cat([as_real(gradient).reshape(-1) for gradient in found])
        return {plain(name): gradient for name, gradient in zip(points, found, strict=True)}


def plain(name: str) -> str:
    """The name that a point has in the module that was differentiated first."""
    return name.removeprefix("module.").removeprefix("network.")


def _tracked(tensor: Tensor) -> Tensor:
    return tensor if tensor.requires_grad else tensor.view_as(tensor).requires_grad_()
