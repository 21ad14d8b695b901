"""A rule for vmap that a `torch.autograd.Function` brings along: what it makes of many calls must be what they give one by one."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.func import grad, vmap

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import listed, one_line, told_apart
from nets.verification.attempt import quiet
from nets.verification.compare.comparison import POWER
from nets.verification.contract.recorded import record
from nets.verification.contract.watching import nodes_of, written_in_python
from nets.verification.noise.rounding import FEW, ROUNDING_SAFETY, output_floor
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

COPIES = 3
"""Points that are batched, each elsewhere."""


def check_batching(problem: Problem) -> list[Check]:
    """A failed check where a call under vmap gives another output, or another gradient, than the calls one by one; none where no
    Function of the graph has a rule of its own, or the module cannot be batched."""
    own = list(dict.fromkeys(_with_rules(problem))) if not problem.random else []
    if not own:
        return []
    for batched in [list(problem.points), *([name] for name in problem.points if len(problem.points) > 1)]:
        moved = {name: _copies(problem, name) for name in batched}
        for axis in (0, -1):
            try:
                with quiet():
                    found = _differing(problem, moved, axis)
            except Exception as error:  # whatever it is that cannot be batched
                if axis == 0:
                    break
                # What can be batched along one axis can be along another.
                found = f"with the batch along the last axis it raises {type(error).__name__}: {one_line(error)}"
            if found:
                wrong = Reason.WRONG_VMAP_RULE.because(functions=listed(own), points=listed(batched), what=found)
                return [Check.without_entry(batched[0], Method.BATCHED_REVERSE, Method.REVERSE_MODE, Verdict.FAIL, wrong)]
    return []


def _with_rules(problem: Problem) -> Iterator[str]:
    """The names of the Functions, and of the operators of `torch.library`, that have a rule of their own."""
    generated = {f"GeneratedBackwardFor_{o._namespace}_{o._name}_default": o._qualname for o in OPDEFS.values() if o._vmap_fn}
    for node in nodes_of(record(problem).outputs):
        if written_in_python(node):
            function = node._forward_cls
            if function.generate_vmap_rule or function.vmap is not torch.autograd.Function.vmap:
                yield generated.get(function.__name__, function.__name__)
            elif function.__name__ in generated:
                yield generated[function.__name__]


def _copies(problem: Problem, name: str) -> Tensor:
    point, generator = problem.points[name].detach(), stream(problem.seed, "batched", name)
    part = torch.rand((COPIES, *point.shape), generator=generator, dtype=torch.float64).to(point.dtype)
    return point * (1 + 0.1 * part)


def _differing(problem: Problem, moved: dict[str, Tensor], axis: int) -> str:
    """In what a batched call differs from calls one by one; empty where it does not.

    Args:
        axis: where the points have the axis of the batch, first or last.
    """

    def output(points: dict[str, Tensor]) -> Tensor:
        return problem({**problem.points, **points})

    def gradient(points: dict[str, Tensor]) -> dict[str, Tensor]:
        return grad(lambda p: problem.cotangent @ output(p))(points)

    stacked = {name: points.movedim(0, axis) for name, points in moved.items()}
    single = [{name: points[copy] for name, points in moved.items()} for copy in range(COPIES)]
    with torch.no_grad():
        ys, each = vmap(output, in_dims=axis)(stacked), torch.stack([output(points) for points in single])
    error = (ys - each).abs().nan_to_num(nan=torch.inf)
    if largest(error) > 1e-9 * largest(each) and (error > ROUNDING_SAFETY * output_floor(problem, problem.seed, FEW)).any():
        copy, row = divmod(int(error.argmax()), error.shape[1])
        found, right = told_apart(float(ys[copy, row]), float(each[copy, row]))
        return f"{problem.outputs.name(row)} is {found} where a call by itself gives {right}"
    right_ones = {name: torch.stack([gradient(points)[name] for points in single]) for name in moved}
    through = _back_through(output, stacked, axis, problem.cotangent)
    found_ones = {
        "by a batched gradient": vmap(gradient, in_dims=axis)(stacked),
        "through a batched call": {name: gradients.movedim(axis, 0) for name, gradients in through.items()},
    }
    for what, gradients in found_ones.items():
        for name, expected in right_ones.items():
            if largest((gradients[name] - expected).abs().nan_to_num(nan=torch.inf)) > POWER * largest(expected):
                return f"the gradient of {name} {what} is another one than call by call"
    return ""


def _back_through(
    output: Callable[[dict[str, Tensor]], Tensor], stacked: dict[str, Tensor], axis: int, v: Tensor
) -> dict[str, Tensor]:
    """The gradient of the sum of vᵀY over the batch, by a backward pass of autograd through a batched call."""
    leaves = {name: points.detach().clone().requires_grad_() for name, points in stacked.items()}
    total = (vmap(output, in_dims=axis)(leaves) @ v).sum()
    if not total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values()), materialize_grads=True), strict=True))
