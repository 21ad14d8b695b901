"""The gradient of a call must not depend on other calls before its backward pass.

A `Function` that keeps its tensors on its class, or a module that keeps them on itself, is right as long as each call
is followed by its own backward. It is wrong where a loss uses two calls, as in a siamese network, a recurrent one, or a
pipeline.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.reason import Reason
from nets.verification.attempt import attempt
from nets.verification.contract.disagreement import Disagreement, disagreement
from nets.verification.contract.recorded import record
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

OtherCall = Callable[[], Any]
"""Makes another call of the module."""


def check_interleaved(problem: Problem) -> list[Check]:
    """A failed check where the gradient of a call depends on other calls made before its backward; none where it does
    not.

    One call is made before it, at another point, and one after it. A backward that reads what the last call kept, or
    the first one, or what is next on a stack or in a queue, then reads what belongs to another call.
    """
    before, after = (_at_another_point(problem, which) for which in ("before", "after"))
    found = _between(problem, before, after)
    if _between(problem, _no_call, _no_call) is not None:
        return []
    if found is None:
        found = _between(problem, _no_call, lambda: problem.call_in_place(_larger))
        where = "in a buffer, or in a parameter that requires no gradient"
    else:
        by_a_copy = _between(problem, _of_a_copy(problem, "before"), _of_a_copy(problem, "after")) is not None
        where = (
            "on the class, or globally (calls of a copy of the module change it, too)" if by_a_copy else "on the module"
        )
    if found is None:
        return []
    return [found.check(Reason.INTERLEAVED_CALLS, where=where)]


def _between(problem: Problem, before: OtherCall, after: OtherCall) -> Disagreement | None:
    """How the gradient of a call differs from its usual value, with another call before it and one after."""

    def gradient() -> dict[str, Tensor]:
        with torch.enable_grad():
            held = before()
            call = record(problem)
            held = held, after()
            found = call.pull_back(call.cotangents)
            del held
            return found

    # None where the module cannot be called at the other point, or has no graph there.
    found = attempt(gradient).or_none()
    return None if found is None else disagreement(problem, found, problem.gradient)


def _larger(x: Tensor) -> Tensor:
    return 1.1 * x.detach()


def _no_call() -> None:
    pass


def _at_another_point(problem: Problem, which: str) -> OtherCall:
    """A call of the module itself at another point."""
    return lambda: problem.call_elsewhere(_moved(problem, which))


def _of_a_copy(problem: Problem, which: str) -> OtherCall:
    """A call of a copy of the module at another point."""
    return lambda: problem(_moved(problem, which))


def _moved(problem: Problem, which: str) -> dict[str, Tensor]:
    """The points with every number larger by up to a tenth, each by a random part of its own."""
    moved = {}
    for name, point in problem.points.items():
        generator = stream(problem.seed, "another call", which, name)
        factor = 1 + 0.1 * torch.rand(point.shape, generator=generator, dtype=torch.float64)
        moved[name] = (point.detach() * factor.to(point.dtype)).requires_grad_()
    return moved
