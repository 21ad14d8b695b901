"""A backward must use the numbers of its forward, even if the caller writes into an input or an output after the call.

`y = f(x); y.mul_(2)` is common. Autograd allows it, and refuses the backward pass if that needs y: it counts the
in-place operations on each tensor given to `ctx.save_for_backward`. A tensor that is kept otherwise, as an attribute of
ctx or detached, is not counted: the backward then reads the new numbers, and no error is raised.
"""

from typing import Any

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.reason import Reason
from nets.torch_internals import pytree
from nets.verification.attempt import attempt
from nets.verification.contract.disagreement import Disagreement, disagreement
from nets.verification.contract.recorded import RecordedCall, record
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import differentiable


def check_later_writes(problem: Problem) -> list[Check]:
    """A failed check where writing into an output changes the gradient; none where autograd notices the write, or the
    backward does not need that output."""
    found = _after_overwriting(problem, "output")
    if found is None:
        return []
    return [found.check(Reason.OUTPUT_OVERWRITTEN)]


def unsaved_inputs_note(problem: Problem) -> list[str]:
    """A note where writing into an input changes the gradient. It is no failure: Functions often keep an input as an
    attribute of ctx, and callers seldom overwrite it."""
    if _after_overwriting(problem, "input") is None:
        return []
    return [
        "the backward pass reads an input that was not saved with ctx.save_for_backward: if the caller overwrites "
        "that input in place before the backward pass, the gradient is wrong and autograd does not notice"
    ]


def _after_overwriting(problem: Problem, what: str) -> Disagreement | None:
    """How the gradient changes once the inputs or outputs of a call are overwritten; None where it does not."""
    given: list[Any] = []
    handle = problem.module.register_forward_pre_hook(lambda _, arguments: given.extend(arguments))
    call = attempt(lambda: record(problem)).or_none()
    handle.remove()
    if call is None:  # the module returns fewer numbers here than at first
        return None
    tensors = call.outputs if what == "output" else [x for x in pytree.tree_leaves(given) if differentiable(x)]
    # Only tensors of this call are overwritten, not parameters, buffers or leaves.
    state = [*problem.module.parameters(), *problem.module.buffers(), *call.leaves.values()]
    shared = {x.untyped_storage().data_ptr() for x in state}
    chosen = [x for x in tensors if x.untyped_storage().data_ptr() not in shared]
    # None if autograd noticed the write, a tensor cannot be written to, or the module returns fewer numbers.
    return attempt(lambda: _after_writing(problem, call, chosen)).or_none()


def _after_writing(problem: Problem, call: RecordedCall, tensors: list[Tensor]) -> Disagreement | None:
    for x in tensors:
        # Other numbers in the same memory, by operations that autograd counts but does not differentiate.
        with torch.no_grad():
            x.detach().mul_(-2).add_(1)
    return disagreement(problem, call.pull_back(call.cotangents), problem.gradient)
