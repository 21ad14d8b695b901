"""The gradient of the gradient: a module whose output is the gradient of another, verified like any module."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nets.calculus.function import closed_form
from nets.calculus.network import Network
from nets.records.reason import Finding, Reason
from nets.torch_internals import module_tables, pytree
from nets.verification.attempt import Available, attempt
from nets.verification.problem.copies import library_operators
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import as_real, flattened, input_names
from nets.verification.problem.randomness import stream
from nets.verification.second_order.held_constant import (
    Pullback,
    held_constant_explains,
    kept_values,
    pull_back_with_graph,
)

OutputFunction = Callable[[Any, dict[str, Tensor], Any], Any]
"""(module, parameters, arguments) → its output, with a graph."""

MOST_SEPARATE_ENTRIES = 256
"""Up to so many numbers in parameters and inputs, every entry of the gradient is an output; beyond, random sums of the
entries are."""

SUMS = 8
"""The number of random sums."""


class GradientOf(nn.Module):
    """X → Σ_m v_m ∂Y_m/∂p for every point p of a problem, as {name: gradient}; differentiable.

    It has the parameters, buffers and submodules of the original module under their own names, so that every message of
    the second order uses the names of the first.

    Args:
        problem: what is differentiated first; a `Network` by its closed form.
        seed: of v, and of the sums where there are many entries.
    """

    first: nn.Module
    names: frozenset[str]
    v: Tensor
    sums: Tensor | None
    pullback: Pullback
    call: OutputFunction

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__()
        size = sum(point.numel() for point in problem.points.values())
        sums = torch.randint(0, 2, (SUMS, size), generator=stream(seed, "sums of the gradient")).double() * 2 - 1
        v = (
            torch.rand(len(problem.y), generator=stream(seed, "cotangent of the first order"), dtype=torch.float64)
            + 0.5
        )
        self._hold(problem.module, frozenset(problem.points), v, sums if size > MOST_SEPARATE_ENTRIES else None)

    def _hold(self, module: nn.Module, names: frozenset[str], v: Tensor, sums: Tensor | None) -> None:
        # Not by setattr: a parameter of the module may have one of these names.
        functions = {
            "pullback": pull_back_with_graph,
            "call": _by_closed_form if isinstance(module, Network) else _by_autograd,
        }
        self.__dict__.update(module_tables(module), first=module, names=names, v=v, sums=sums, **functions)

    def __deepcopy__(self, memo: dict[int, Any]) -> "GradientOf":
        # The copy must share its parameters with the copy of the module, as this object shares them with the module.
        twin = GradientOf.__new__(GradientOf)
        nn.Module.__init__(twin)
        memo[id(self)] = twin
        memo.update(library_operators(self.first))
        twin._hold(copy.deepcopy(self.first, memo), self.names, self.v, self.sums)
        return twin

    def forward(self, *inputs: Any) -> dict[str, Tensor] | Tensor:
        """The gradients, or random sums of their entries."""
        with torch.enable_grad():
            y, points = self._record(inputs)
            found = self.pullback(y, self.v, points)
            if self.sums is None:
                return dict(found)
            return self.sums @ torch.cat([as_real(gradient).reshape(-1) for gradient in found.values()])

    def _record(self, inputs: tuple[Any, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        """Y, shape (M,), and the leaves of its graph, which have the values of the points."""
        parameters = {name: _tracked(p) for name, p in self.first.named_parameters() if name in self.names}
        found, structure = pytree.tree_flatten_with_path(inputs)
        names = input_names([path for path, _ in found])
        leaves = {name: _tracked(x) if name in self.names else x for name, (_, x) in zip(names, found, strict=True)}
        output = self.call(self.first, parameters, pytree.tree_unflatten(list(leaves.values()), structure))
        return flattened(output, self.v.dtype), parameters | {
            name: x for name, x in leaves.items() if name in self.names
        }


class SecondOrder(Problem):
    """The gradient G of another problem, at the same point.

    Attributes:
        first: what is differentiated first.
        seeks_causes: whether a wrong derivative of G may come from something that a backward holds constant. It does
            not where G itself is wrong.

    Args:
        first: what is differentiated first.
        inputs: of the module.
        seed: of the sums of outputs and entries, and of the random numbers that the module draws.
    """

    letter = "G"

    def __init__(self, first: Problem, inputs: tuple[Any, ...], seed: int) -> None:
        super().__init__(GradientOf(first, seed), inputs, seed=seed)
        self.first, self.seeks_causes = first, True

    def explained(self, name: str, actual: Tensor, expected: Tensor) -> Finding | None:
        """Why the derivatives by a point, shape (M, P), are not the expected ones; None where that is not known."""
        if not self.seeks_causes:
            return None
        call = _by_closed_form if isinstance(self.first.module, Network) else _by_autograd
        with self._using("call", call):
            explains = held_constant_explains(self, self.using_pullback, name, actual, expected)
        return Reason.INTERMEDIATE_KEPT.because() if explains else None

    def raising(self) -> Finding | None:
        """Why the gradient cannot be differentiated; None where it can be."""
        y, leaves = self.record()
        # Into .grad, since torch.autograd.grad skips nodes that do not lead to the leaves, as those of
        # once_differentiable.
        found = attempt(lambda: torch.autograd.backward(y, self.cotangent))
        for leaf in leaves.values():
            leaf.grad = None
        if isinstance(found, Available):
            return None
        kept = kept_values(self, self.using_pullback).attributes
        return (Reason.INTERMEDIATE_KEPT if kept else Reason.BACKWARD_NOT_DIFFERENTIABLE).because()

    def using_pullback(self, pullback: Pullback) -> contextlib.AbstractContextManager[None]:
        """A context in which the gradient is taken by another pullback."""
        return self._using("pullback", pullback)

    @contextlib.contextmanager
    def by_autograd(self) -> Iterator[None]:
        """Within this context the gradient of a `Network` is computed by reverse mode, and not by its closed form."""
        closed = self.y
        with self._using("call", _by_autograd):
            self.y = self.evaluate()
            try:
                yield
            finally:
                self.y = closed

    @contextlib.contextmanager
    def _using(self, name: str, function: Callable[..., Any]) -> Iterator[None]:
        own = vars(self.module)
        own[name], before = function, own[name]
        try:
            yield
        finally:
            own[name] = before


def _by_closed_form(network: Network, parameters: dict[str, Tensor], arguments: Any) -> Tensor:
    """Y, with the derivatives of the layers in its graph."""
    (x,) = arguments
    return closed_form(network, x, parameters)


def _by_autograd(module: nn.Module, parameters: dict[str, Tensor], arguments: Any) -> Any:
    """The output, with the graph that its operations record."""
    return functional_call(module, parameters, tuple(arguments))


def _tracked(tensor: Tensor) -> Tensor:
    return tensor if tensor.requires_grad else tensor.view_as(tensor).requires_grad_()
