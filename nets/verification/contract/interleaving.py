"""What a backward needs belongs to its own call: other calls, made before and after it, must not change the gradient of this one.

A `Function` that keeps its tensors on its class, or a module that keeps them on itself, is right as long as each call is followed
by its own backward. It is wrong where a loss holds two calls, as in a siamese network, a recurrent one, or a pipeline.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nets.records.certificate import Check
from nets.verification.attempt import quiet
from nets.verification.contract.disagreement import Disagreement, disagreement
from nets.verification.contract.recorded import record
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

Call = Callable[[], Any]


def check_interleaved(problem: Problem) -> list[Check]:
    """A failed check where the gradient of one call depends on other calls before its backward; none where it does not.

    One call is made before, at another point, and one after. What is kept for the last call, for the first, on a stack or in a
    queue is another call's then.
    """
    before, after = (_elsewhere(problem, which) for which in ("before", "after"))
    found = _between(problem, before, after)
    if _between(problem, _nothing, _nothing) is not None:
        return []
    if found is None:
        found = _between(problem, _nothing, lambda: problem.call_in_place(_larger))
        where = "in a buffer, or in a parameter that requires no gradient"
    else:
        everyone = _between(problem, _of_a_copy(problem, "before"), _of_a_copy(problem, "after")) is not None
        where = "on the class, or globally (calls of a copy of the module change it, too)" if everyone else "on the module"
    if found is None:
        return []
    reason = f"with two calls before a backward, since what the backward pass needs is kept {where} and not on ctx"
    return [found.check(reason, "where there is one call")]


def _between(problem: Problem, before: Call, after: Call) -> Disagreement | None:
    """How the gradient of a call differs from what it is by itself, with another call before it and one after."""
    try:
        with quiet(), torch.enable_grad():
            held = before()
            call = record(problem)
            held = held, after()
            found = call.pull_back(call.cotangents)
            del held
    except Exception:  # it does not take the other point, or has no graph there
        return None
    return disagreement(problem, found, problem.gradient)


def _larger(x: Tensor) -> Tensor:
    return 1.1 * x.detach()


def _nothing() -> None:
    pass


def _elsewhere(problem: Problem, which: str) -> Call:
    """A call of the module itself at another point."""
    return lambda: problem.call_elsewhere(_moved(problem, which))


def _of_a_copy(problem: Problem, which: str) -> Call:
    """A call of a copy of the module at another point."""
    return lambda: problem(_moved(problem, which))


def _moved(problem: Problem, which: str) -> dict[str, Tensor]:
    """The points with every number up to a tenth larger, each by a part of its own."""
    moved = {}
    for name, point in problem.points.items():
        generator = stream(problem.seed, "another call", which, name)
        factor = 1 + 0.1 * torch.rand(point.shape, generator=generator, dtype=torch.float64)
        moved[name] = (point.detach() * factor.to(point.dtype)).requires_grad_()
    return moved
