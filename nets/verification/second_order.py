"""The gradient of the gradient: a module whose output is the gradient of another, to be verified like any module."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from nets.calculus.function import closed_form
from nets.calculus.network import Network
from nets.verification.leaves import as_real, flattened, input_names
from nets.verification.problem import Problem
from nets.verification.randomness import stream

EVERY_ROW = 256
"""Numbers in parameters and inputs up to which every entry of the gradient is an output; beyond, eight random sums of them are."""


class GradientOf(nn.Module):
    """X → Σ_m v_m ∂Y_m/∂p for every point p of a problem, as {name: gradient}; differentiable.

    It has the parameters, buffers and submodules of the module that is differentiated first, under the names that they have
    there, so that whatever is said of them at second order carries the names of the first.

    Args:
        problem: what is differentiated first, a `Network` by its closed form.
        seed: of v, and of the sums where there are many entries.
    """

    first: nn.Module
    names: frozenset[str]
    v: Tensor
    sums: Tensor | None

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__()
        size = sum(point.numel() for point in problem.points.values())
        rows = torch.randint(0, 2, (8, size), generator=stream(seed, "sums of the gradient")).double() * 2 - 1
        v = torch.rand(len(problem.y), generator=stream(seed, "cotangent of the first order"), dtype=torch.float64) + 0.5
        self._holds(problem.module, frozenset(problem.points), v, rows if size > EVERY_ROW else None)

    def _holds(self, module: nn.Module, names: frozenset[str], v: Tensor, sums: Tensor | None) -> None:
        # Not by setattr: a parameter of the module may have one of these names.
        own = {"_parameters": module._parameters, "_buffers": module._buffers, "_modules": module._modules}
        self.__dict__.update(own, first=module, names=names, v=v, sums=sums)

    def __deepcopy__(self, memo: dict[int, Any]) -> "GradientOf":
        # By hand, since the copy must share its parameters with the copy of the module, as this one does with the module.
        twin = GradientOf.__new__(GradientOf)
        nn.Module.__init__(twin)
        memo[id(self)] = twin
        twin._holds(copy.deepcopy(self.first, memo), self.names, self.v, self.sums)
        return twin

    def forward(self, *inputs: Any) -> dict[str, Tensor] | Tensor:
        """The gradients, or eight sums of their entries."""
        with torch.enable_grad():
            y, points = self.record(inputs)
            return self.arranged(pulled_back(y, self.v, points))

    def record(self, inputs: tuple[Any, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        """Y, shape (M,), and the tensors that stand for the points in its graph."""
        parameters = {name: _tracked(p) for name, p in self.first.named_parameters() if name in self.names}
        found, structure = pytree.tree_flatten_with_path(inputs)
        names = input_names([path for path, _ in found])
        leaves = {name: _tracked(x) if name in self.names else x for name, (_, x) in zip(names, found, strict=True)}
        output = _called(self.first, parameters, pytree.tree_unflatten(list(leaves.values()), structure))
        return flattened(output, self.v.dtype), parameters | {name: x for name, x in leaves.items() if name in self.names}

    def arranged(self, found: Mapping[str, Tensor]) -> dict[str, Tensor] | Tensor:
        """The gradients as the module returns them."""
        if self.sums is None:
            return dict(found)
        return self.sums @ torch.cat([as_real(gradient).reshape(-1) for gradient in found.values()])


def pulled_back(y: Tensor, v: Tensor, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Σ_m v_m ∂Y_m/∂p of every point p, with a graph of its own; zero where the graph of Y does not reach."""
    if not y.requires_grad:
        return {name: torch.zeros_like(point) for name, point in points.items()}
    # The graph is recorded wherever this is called: without one PyTorch takes other formulas for some operations, such as det and
    # solve, and dual numbers that pass these come out wrong.
    found = torch.autograd.grad(y, list(points.values()), v, create_graph=True, allow_unused=True, materialize_grads=True)
    return {name: g.to_dense() if g.is_sparse else g for name, g in zip(points, found, strict=True)}


def _called(module: nn.Module, parameters: dict[str, Tensor], arguments: Any) -> Any:
    if isinstance(module, Network):
        (x,) = arguments
        return closed_form(module, x, parameters)
    return functional_call(module, parameters, tuple(arguments))


def _tracked(tensor: Tensor) -> Tensor:
    return tensor if tensor.requires_grad else tensor.view_as(tensor).requires_grad_()
