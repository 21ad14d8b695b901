"""Why a second derivative is wrong: the backward treats something as constant that depends on the point.

The backward of a `torch.autograd.Function` is itself differentiated at second order. What it reads from ctx without a
graph, what it detaches and what it computes under `no_grad` counts as constant there. An experiment decides whether
that explains the error: the point is moved, the backward is given what it had at the first point, and the gradient is
measured. If these differences equal the derivatives by reverse mode, the backward held exactly that constant.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import saved_tensors_hooks

from nets.torch_internals import pytree
from nets.verification.attempt import Unavailable, attempt
from nets.verification.derivations.slopes import DIFFERENCE_SAFETY, slopes_along
from nets.verification.problem.graph import nodes_of
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import differentiable, largest
from nets.verification.problem.randomness import signed, stream

Pullback = Callable[[Tensor, Tensor, Mapping[str, Tensor]], dict[str, Tensor]]
"""(Y, v, points) → Σ_m v_m ∂Y_m/∂p of every point p, with a graph."""

UsingPullback = Callable[[Pullback], contextlib.AbstractContextManager[None]]
"""A context in which the gradient is taken by that pullback."""

HELD_STEPS = tuple(2.0**-k for k in (6, 9, 12, 15))
"""How far the point is moved, relative to its largest number if that is more than 1."""

FITS = 1e-7
"""The two agree if they differ by less than this part of the largest derivative, besides the error of the
differences."""


class Held(Enum):
    """Which of its values each backward is given as they were at the first point."""

    WITHOUT_A_GRAPH = auto()  # what it kept, except inputs and outputs, which bring their graph along
    EVERYTHING_KEPT = auto()  # as if it detached all of it
    RESULT = auto()  # as if it ran under no_grad


@dataclass(slots=True)
class KeptValues:
    """What the backward passes of the custom Functions read and returned at one point.

    Attributes:
        attributes: of each Function, the leaves of what was written to its ctx.
        saved: what was given to `save_for_backward`, by its number among all tensors that were saved.
        without_graph: the numbers of those saved tensors that have no graph.
        results: of each Function, the gradients that it returned.
    """

    attributes: list[list[Any]] = field(default_factory=list)
    saved: dict[int, Tensor] = field(default_factory=dict)
    without_graph: set[int] = field(default_factory=set)
    results: dict[int, Any] = field(default_factory=dict)


def pull_back_with_graph(y: Tensor, v: Tensor, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Σ_m v_m ∂Y_m/∂p of every point p, with a graph; zero where the graph of Y does not reach."""
    if not y.requires_grad:
        return {name: torch.zeros_like(point) for name, point in points.items()}
    # A graph is recorded even where it is not needed: without one PyTorch uses other formulas for some operations, such
    # as det and solve, which give wrong dual numbers.
    found = torch.autograd.grad(
        y, list(points.values()), v, create_graph=True, allow_unused=True, materialize_grads=True
    )
    return {name: g.to_dense() if g.is_sparse else g for name, g in zip(points, found, strict=True)}


def kept_values(problem: Problem, using_pullback: UsingPullback) -> KeptValues:
    """What the custom Functions read and return at the point of a problem whose output is a gradient."""
    kept, packed, unpacked = KeptValues(), list[Tensor](), list[int]()

    def pack(tensor: Tensor) -> int:
        packed.append(tensor.detach().clone())
        return len(packed) - 1

    def unpack(number: int) -> Tensor:
        unpacked.append(number)
        return packed[number]

    def keep(index: int, results: Any) -> None:
        kept.results[index] = pytree.tree_map_only(Tensor, Tensor.detach, results)

    def pullback(y: Tensor, v: Tensor, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
        for index, node in enumerate(_custom_functions(y)):
            unpacked.clear()
            tensors = [tensor for tensor in node.saved_tensors if tensor is not None]
            kept.saved |= {number: packed[number] for number in unpacked}
            kept.without_graph |= {number for number, x in zip(unpacked, tensors, strict=True) if not x.requires_grad}
            leaves = pytree.tree_leaves(vars(node))
            kept.attributes.append([x.detach().clone() if isinstance(x, Tensor) else x for x in leaves])
            node.register_hook(lambda results, _, index=index: keep(index, results))
        return pull_back_with_graph(y, v, points)

    with saved_tensors_hooks(pack, unpack), using_pullback(pullback):
        problem.evaluate()
    return kept


def held_constant_explains(
    problem: Problem, using_pullback: UsingPullback, name: str, stated: Tensor, expected: Tensor
) -> bool:
    """Whether a backward that holds something constant explains why derivatives of a gradient are not the expected
    ones.

    Args:
        problem: whose output is the gradient.
        using_pullback: lets the gradient be taken by another pullback.
        name: the point of the derivatives.
        stated: the derivatives by reverse mode, shape (M, P).
        expected: the right ones, shape (M, P).
    """
    kept = kept_values(problem, using_pullback)
    t = signed(stated.shape[1], stream(problem.seed, "direction of what is held", name)).to(stated.dtype)
    ours, truth = stated @ t, expected @ t
    scale = torch.maximum(ours.abs().max(), truth.abs().max())
    for held in Held if kept.attributes else ():
        with saved_tensors_hooks(*_saved_tensor_hooks(kept, held)), using_pullback(_holding(kept, held)):
            found = attempt(lambda: _derivative(problem, name, t))
        if isinstance(found, Unavailable):  # the backward fails with values of another point
            continue
        derivative, error = found.value
        tolerance = DIFFERENCE_SAFETY * error + FITS * scale
        if bool(((ours - derivative).abs() <= tolerance).all() and ((ours - truth).abs() > 10 * tolerance).any()):
            return True
    return False


def _custom_functions(y: Tensor) -> list[Any]:
    """The nodes of custom Functions in the graph of Y, in an order that is the same in each call."""
    return [node for node in nodes_of([y]) if isinstance(node, BackwardCFunction)]


def _saved_tensor_hooks(kept: KeptValues, held: Held) -> tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]:
    """Hooks that return the numbers of the first point for tensors given to `save_for_backward`."""
    chosen = {n: kept.saved[n] for n in (kept.without_graph if held is Held.WITHOUT_A_GRAPH else kept.saved)}
    count = itertools.count()
    return lambda tensor: (next(count), tensor), lambda packed: chosen.get(*packed)


def _holding(kept: KeptValues, held: Held) -> Pullback:
    """A pullback whose backward functions are given the values that they had at the first point."""

    def pullback(y: Tensor, v: Tensor, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
        nodes = _custom_functions(y)
        if len(nodes) != len(kept.attributes):
            raise RuntimeError("the graph has other custom Functions at another point")
        for index, (node, first) in enumerate(zip(nodes, kept.attributes, strict=True)):
            if held is Held.RESULT:
                node.register_hook(lambda results, _, index=index: kept.results.get(index))
                continue
            leaves, structure = pytree.tree_flatten(vars(node))
            if len(leaves) != len(first):
                raise RuntimeError("a Function keeps another number of values on ctx at another point")
            for i, leaf in enumerate(leaves):
                if differentiable(leaf) and (held is Held.EVERYTHING_KEPT or not leaf.requires_grad):
                    leaves[i] = first[i]
            vars(node).update(pytree.tree_unflatten(leaves, structure))
        return pull_back_with_graph(y, v, points)

    return pullback


def _derivative(problem: Problem, name: str, t: Tensor) -> tuple[Tensor, float]:
    """∂Y/∂t by differences, shape (M,), and a bound on the error."""
    point = problem.points[name].view(-1)
    unit = max(1.0, largest(point))
    slopes = [slopes_along(problem, point, unit * h, t).central for h in HELD_STEPS]
    # The error of each difference is h² times a common constant, and each step is 8 times the next.
    found = [(64 * narrow - wide) / 63 for wide, narrow in itertools.pairwise(slopes)]
    errors = [float((one - other).abs().max().nan_to_num(nan=math.inf)) for one, other in itertools.pairwise(found)]
    best = min(range(len(errors)), key=errors.__getitem__)
    return found[best + 1], errors[best]
