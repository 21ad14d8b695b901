"""Why a second derivative is wrong: a backward that takes something for constant which moves with the point.

The backward of a `torch.autograd.Function` is itself differentiated at second order. What it reads from ctx without a graph, what
it detaches and what it computes under `no_grad` counts as constant there. That is not guessed from the code but tried out: the
point is moved, the backward is handed what it had at the first point, and the gradient is measured. Where these differences are
the derivatives that reverse mode gives, the backward held exactly that for constant.
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
from torch.utils import _pytree as pytree

from nets.verification.derivations.slopes import SAFETY, slopes_along
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import differentiable, largest
from nets.verification.problem.randomness import signed, stream

Walk = Callable[[Tensor, Tensor, Mapping[str, Tensor]], dict[str, Tensor]]
"""(Y, v, points) → Σ_m v_m ∂Y_m/∂p of every point p, with a graph."""

Walking = Callable[[Walk], contextlib.AbstractContextManager[None]]
"""A context in which the gradient is taken by that walk."""

STEPS = tuple(2.0**-k for k in (6, 9, 12, 15))
"""How far the point is moved, in units of its largest number where that is more than one."""

FITS = 1e-7
"""The part of the largest derivative up to which the two must agree, besides the error of the differences."""


class Held(Enum):
    """What each backward is handed as it was at the first point."""

    WITHOUT_A_GRAPH = auto()  # what it kept, but for inputs and outputs, which bring their graph along
    ALL_THAT_IT_KEPT = auto()  # as where it detaches all of it
    ITS_RESULT = auto()  # as where it runs under no_grad


@dataclass(slots=True)
class Memory:
    """What the backward passes of the custom functions had to hand at one point.

    Attributes:
        attributes: of each function, the leaves of what was written to its ctx.
        saved: what was given to `save_for_backward`, by its place among all tensors that were saved.
        loose: the places of those that have no graph.
        results: of each function, the gradients that it returned.
    """

    attributes: list[list[Any]] = field(default_factory=list)
    saved: dict[int, Tensor] = field(default_factory=dict)
    loose: set[int] = field(default_factory=set)
    results: dict[int, Any] = field(default_factory=dict)


def pulled_back(y: Tensor, v: Tensor, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Σ_m v_m ∂Y_m/∂p of every point p, with a graph of its own; zero where the graph of Y does not reach."""
    if not y.requires_grad:
        return {name: torch.zeros_like(point) for name, point in points.items()}
    # The graph is recorded wherever this is called: without one PyTorch takes other formulas for some operations, such as det and
    # solve, and dual numbers that pass these come out wrong.
    found = torch.autograd.grad(y, list(points.values()), v, create_graph=True, allow_unused=True, materialize_grads=True)
    return {name: g.to_dense() if g.is_sparse else g for name, g in zip(points, found, strict=True)}


def remembered(problem: Problem, walking: Walking) -> Memory:
    """What the custom functions have to hand at the point of a problem whose output is a gradient."""
    memory, packed, places = Memory(), list[Tensor](), list[int]()

    def pack(tensor: Tensor) -> int:
        packed.append(tensor.detach().clone())
        return len(packed) - 1

    def unpack(place: int) -> Tensor:
        places.append(place)
        return packed[place]

    def keep(index: int, results: Any) -> None:
        memory.results[index] = pytree.tree_map_only(Tensor, Tensor.detach, results)

    def walk(y: Tensor, v: Tensor, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
        for index, node in enumerate(_custom_functions(y)):
            places.clear()
            tensors = [tensor for tensor in node.saved_tensors if tensor is not None]
            memory.saved |= {place: packed[place] for place in places}
            memory.loose |= {place for place, x in zip(places, tensors, strict=True) if not x.requires_grad}
            leaves = pytree.tree_leaves(vars(node))
            memory.attributes.append([x.detach().clone() if isinstance(x, Tensor) else x for x in leaves])
            node.register_hook(lambda results, _, index=index: keep(index, results))
        return pulled_back(y, v, points)

    with saved_tensors_hooks(pack, unpack), walking(walk):
        problem.evaluate()
    return memory


def held_for_constant(problem: Problem, walking: Walking, name: str, stated: Tensor, expected: Tensor) -> bool:
    """Whether a backward that holds something for constant is why derivatives of a gradient are not the expected ones.

    Args:
        problem: whose output is the gradient.
        walking: how that gradient is taken by another walk.
        name: the point by which the derivatives are.
        stated: the derivatives by reverse mode, shape (M, P).
        expected: the right ones, shape (M, P).
    """
    memory = remembered(problem, walking)
    t = signed(stated.shape[1], stream(problem.seed, "direction of what is held", name)).to(stated.dtype)
    ours, truth = stated @ t, expected @ t
    scale = torch.maximum(ours.abs().max(), truth.abs().max())
    for held in Held if memory.attributes else ():
        try:
            with saved_tensors_hooks(*_handing(memory, held)), walking(_holding(memory, held)):
                derivative, error = _measured(problem, name, t)
        except Exception:  # a backward that is handed what it had elsewhere may raise whatever it likes
            continue
        bar = SAFETY * error + FITS * scale
        if bool(((ours - derivative).abs() <= bar).all() and ((ours - truth).abs() > 10 * bar).any()):
            return True
    return False


def _custom_functions(y: Tensor) -> list[Any]:
    """Those in the graph of Y, in an order that is the same in each call."""
    waiting, seen, found = list[Any]([y.grad_fn]), set[Any](), list[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, BackwardCFunction):
            found.append(node)
        waiting += [following for following, _ in node.next_functions]
    return found


def _handing(memory: Memory, held: Held) -> tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]:
    """Hooks that hand out the numbers of the first point for tensors given to `save_for_backward`."""
    chosen = {place: memory.saved[place] for place in (memory.loose if held is Held.WITHOUT_A_GRAPH else memory.saved)}
    count = itertools.count()
    return lambda tensor: (next(count), tensor), lambda packed: chosen.get(*packed)


def _holding(memory: Memory, held: Held) -> Walk:
    """The walk on which each backward is handed what it had at the first point."""

    def walk(y: Tensor, v: Tensor, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
        nodes = _custom_functions(y)
        for index, (node, first) in enumerate(zip(nodes, memory.attributes, strict=True)):
            if held is Held.ITS_RESULT:
                node.register_hook(lambda results, _, index=index: memory.results[index])
                continue
            leaves, structure = pytree.tree_flatten(vars(node))
            for place, leaf in enumerate(leaves):
                if differentiable(leaf) and (held is Held.ALL_THAT_IT_KEPT or not leaf.requires_grad):
                    leaves[place] = first[place]
            vars(node).update(pytree.tree_unflatten(leaves, structure))
        return pulled_back(y, v, points)

    return walk


def _measured(problem: Problem, name: str, t: Tensor) -> tuple[Tensor, float]:
    """∂Y/∂t by differences, shape (M,), and their largest error."""
    point = problem.points[name].view(-1)
    unit = max(1.0, largest(point))
    slopes = [slopes_along(problem, point, unit * h, t).central for h in STEPS]
    # Each is off by h² times what all have in common, and a step is 8 times the next.
    found = [(64 * narrow - wide) / 63 for wide, narrow in itertools.pairwise(slopes)]
    errors = [float((one - other).abs().max().nan_to_num(nan=math.inf)) for one, other in itertools.pairwise(found)]
    best = min(range(len(errors)), key=errors.__getitem__)
    return found[best + 1], errors[best]
