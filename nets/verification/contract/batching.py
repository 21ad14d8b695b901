"""The rule for vmap of a `torch.autograd.Function`: a batched call must give what the calls give one by one."""

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.func import grad, vmap

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import distinct_digits, listed
from nets.torch_internals import custom_function, operators_with_vmap_rule
from nets.verification.attempt import Available, attempt
from nets.verification.compare.comparison import POWER
from nets.verification.contract.recorded import record
from nets.verification.noise.output_noise import FEW_PASSES, output_floor
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.problem.graph import nodes_of
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

COPIES = 3
"""Size of the batch: copies of a point, each moved to another place."""

EQUAL_OUTPUTS = 1e-9
"""Outputs that differ by less than this part of the largest are equal; noise is measured only beyond it."""

Points = dict[str, Tensor]
"""Name → value, for some points."""


def check_batching(problem: Problem) -> list[Check]:
    """A failed check where a call under vmap gives another output, or another gradient, than the calls one by one.

    None where no Function of the graph has a vmap rule of its own, or the module cannot be batched.
    """
    functions = list(dict.fromkeys(_with_rules(problem))) if not problem.random else []
    if not functions:
        return []
    for batched in [list(problem.points), *([name] for name in problem.points if len(problem.points) > 1)]:
        moved = {name: _copies(problem, name) for name in batched}
        for axis in (0, -1):
            attempted = attempt(functools.partial(_difference, problem, moved, axis))
            if isinstance(attempted, Available):
                found = attempted.value
            elif axis == 0:
                break
            else:  # a module that can be batched along one axis can be batched along any
                found = f"with the batch along the last axis it raises {attempted.why}"
            if found:
                wrong = Reason.WRONG_VMAP_RULE.because(functions=listed(functions), points=listed(batched), what=found)
                return [
                    Check.without_entry(batched[0], Method.BATCHED_REVERSE, Method.REVERSE_MODE, Verdict.FAIL, wrong)
                ]
    return []


def _with_rules(problem: Problem) -> Iterator[str]:
    """The names of the Functions, and of the operators of `torch.library`, that have a vmap rule of their own."""
    generated = operators_with_vmap_rule()
    for node in nodes_of(record(problem).outputs):
        function = custom_function(node)
        if function is not None:
            if function.generate_vmap_rule or function.vmap is not torch.autograd.Function.vmap:
                yield generated.get(function.__name__, function.__name__)
            elif function.__name__ in generated:
                yield generated[function.__name__]


def _copies(problem: Problem, name: str) -> Tensor:
    """Copies of a point, each with every number larger by up to a tenth. Shape (COPIES, *shape)."""
    point, generator = problem.points[name].detach(), stream(problem.seed, "batched", name)
    part = torch.rand((COPIES, *point.shape), generator=generator, dtype=torch.float64).to(point.dtype)
    return point * (1 + 0.1 * part)


def _difference(problem: Problem, moved: Points, axis: int) -> str:
    """How a batched call differs from calls one by one; '' where it does not.

    Args:
        moved: name → copies of a point, along the first axis.
        axis: the axis of the batch in the batched call, first or last.
    """

    def output(points: Points) -> Tensor:
        return problem({**problem.points, **points})

    def gradient(points: Points) -> Points:
        return grad(lambda p: problem.cotangent @ output(p))(points)

    stacked = {name: points.movedim(0, axis) for name, points in moved.items()}
    single = [{name: points[copy] for name, points in moved.items()} for copy in range(COPIES)]
    with torch.no_grad():
        ys, each = vmap(output, in_dims=axis)(stacked), torch.stack([output(points) for points in single])
    error = (ys - each).abs().nan_to_num(nan=torch.inf)
    noisy = largest(error) > EQUAL_OUTPUTS * largest(each)
    if noisy and (error > ROUNDING_SAFETY * output_floor(problem, problem.seed, FEW_PASSES)).any():
        copy, row = divmod(int(error.argmax()), error.shape[1])
        found, right = distinct_digits(float(ys[copy, row]), float(each[copy, row]))
        return f"{problem.outputs.name(row)} is {found} where a call by itself gives {right}"
    expected = {name: torch.stack([gradient(points)[name] for points in single]) for name in moved}
    through = _through_a_batched_call(output, stacked, axis, problem.cotangent)
    ways = {
        "by a batched gradient": vmap(gradient, in_dims=axis)(stacked),
        "through a batched call": {name: gradients.movedim(axis, 0) for name, gradients in through.items()},
    }
    for way, gradients in ways.items():
        for name, right_one in expected.items():
            if largest((gradients[name] - right_one).abs().nan_to_num(nan=torch.inf)) > POWER * largest(right_one):
                return f"the gradient of {name} {way} differs from the gradients call by call"
    return ""


def _through_a_batched_call(output: Callable[[Points], Tensor], stacked: Points, axis: int, v: Tensor) -> Points:
    """The gradient of the sum of vᵀY over the batch, by an ordinary backward pass through a batched call."""
    leaves = {name: points.detach().clone().requires_grad_() for name, points in stacked.items()}
    total = (vmap(output, in_dims=axis)(leaves) @ v).sum()
    if not total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values()), materialize_grads=True), strict=True))
