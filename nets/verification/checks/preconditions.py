"""What must hold before a derivative can be checked: finite numbers, the same ones twice, a backward pass that
works."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

from nets.errors import InputError
from nets.records.check import Check
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import distinct_digits
from nets.torch_internals import function_of
from nets.verification.attempt import Unavailable, attempt
from nets.verification.checks.answers import Preconditions, failed_output, judged, raised
from nets.verification.checks.kept_state import accumulated, first_call_matters
from nets.verification.contract.check import check_writes
from nets.verification.problem.calling.errors import OtherOutputsError
from nets.verification.problem.graph import nodes_of
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest

EQUAL_CALLS = 1e-13
"""The part of the largest number by which two calls at the same point may differ."""


def check_preconditions(problem: Problem, called_elsewhere_first: Callable[[], Problem] | None = None) -> Preconditions:
    """The first condition that does not hold.

    Args:
        called_elsewhere_first: makes the same problem with a module that is first called at another point; None to
            leave out the checks that need it.
    """
    for condition in (_finite_output, _same_output_twice, _working_backward, check_writes):
        failed = condition(problem)
        if failed:
            return Preconditions(failed, [])
    failed, second_pass = accumulated(problem)
    if failed or called_elsewhere_first is None or not second_pass:
        return Preconditions(failed, [])
    return first_call_matters(problem, called_elsewhere_first, second_pass)


def _finite_output(problem: Problem) -> list[Check]:
    if torch.isfinite(problem.y).all():
        return []
    row = int((~torch.isfinite(problem.y)).nonzero()[0])
    what = f"{problem.outputs.name(row)} is {float(problem.y[row])}{_first_not_finite(problem)}"
    return [failed_output(Reason.NOT_FINITE.because(what=what))]


def _first_not_finite(problem: Problem) -> str:
    """The first submodule whose output is not finite, in words; '' if there is none."""
    begun: list[str] = []

    def hook(name: str) -> object:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            tensors = [t for t in (output if isinstance(output, tuple | list) else [output]) if isinstance(t, Tensor)]
            if not begun and any(not torch.isfinite(t).all() for t in tensors if t.is_floating_point()):
                begun.append(f"; it began in '{name}', a {type(module).__name__}")

        return look

    inner = [(name, module) for name, module in problem.module.named_modules() if name]
    handles = [module.register_forward_hook(hook(name)) for name, module in inner]
    try:
        problem.evaluate()
    finally:
        for handle in handles:
            handle.remove()
    return begun[0] if begun else ""


def _same_output_twice(problem: Problem) -> list[Check]:
    try:
        again = problem.evaluate()
    except OtherOutputsError as error:
        return [failed_output(Reason.OTHER_SHAPE.because(first=error.first, now=error.now))]
    # The rounding of a linear solver may depend on the addresses of its arguments.
    if largest(again - problem.y) <= EQUAL_CALLS * largest(problem.y):
        return []
    row = int((again - problem.y).abs().argmax())
    one, other = distinct_digits(float(problem.y[row]), float(again[row]))
    return [failed_output(Reason.NOT_DETERMINISTIC.because(one=one, other=other, output=problem.outputs.name(row)))]


def _working_backward(problem: Problem) -> list[Check]:
    found = attempt(lambda: problem.gradient)
    if isinstance(found, Unavailable):
        if isinstance(found.error, InputError):
            raise found.error
        if _has_reentrant_checkpoint(problem):
            return [judged("all", Verdict.INCONCLUSIVE, Reason.REENTRANT_CHECKPOINT.because())]
        return [raised(found)]
    for name, gradient in found.value.items():
        if not math.isfinite(largest(gradient)):
            index = (~torch.isfinite(gradient)).nonzero()[0].tolist()
            what = "NaN" if gradient[tuple(index)].isnan() else "an infinite number"
            where = f"the backward pass gives {what} at {index}, though the output is finite"
            return [judged(name, Verdict.FAIL, Reason.NOT_FINITE.because(what=where))]
    return []


def _has_reentrant_checkpoint(problem: Problem) -> bool:
    """Whether the graph has a checkpoint that gives its gradients to `.grad` alone."""
    y, _ = problem.record()
    return any(function_of(node) is CheckpointFunction for node in nodes_of([y]))
