"""State that a module keeps between calls: the gradient must not depend on earlier calls, nor on an earlier backward
pass through the same graph."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nets.errors import InputError
from nets.records.check import Check
from nets.records.reason import Reason
from nets.text import distinct_digits
from nets.verification.attempt import Available, Unavailable, attempt
from nets.verification.checks.answers import Preconditions, differs, failed, failed_output, raised
from nets.verification.fault_patterns.experiments import drawn_again
from nets.verification.problem.graph import dense, handed_out
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest, like
from nets.verification.problem.randomness import stream

SAME_AT_POINT = 1e-9
"""Two gradients at the same point are equal if they differ by less than this part of the largest entry."""

Gradients = Mapping[str, Tensor]


def accumulated(problem: Problem) -> tuple[list[Check], Gradients]:
    """A backward pass that accumulates in `.grad`, as a training loop does: −2 G + G must be −G.

    Returns:
        The failed check, if there is one; and the gradient of −8 vᵀY by a second backward pass through the same graph.
        It is empty if a second pass is not possible or overflows.
    """
    y, leaves = problem.record()
    if not y.requires_grad:
        return [], {}
    # −2 G, or −G/2 if that would overflow.
    held = -2.0 if math.isfinite(2 * _largest_gradient(problem)) else -0.5
    try:
        for name, leaf in leaves.items():
            leaf.grad = torch.empty_like(leaf).copy_(like(held * problem.gradient[name].contiguous(), leaf))
        backward = attempt(lambda: y.backward(problem.cotangent.clone(), retain_graph=True))
        if isinstance(backward, Unavailable):
            return [raised(backward)], {}
        for name, leaf in leaves.items():
            first, found = problem.gradient[name], dense(leaf.grad, leaf)
            if largest(found - (1 + held) * first) > SAME_AT_POINT * largest(first):
                overwritten = largest(found - first) <= SAME_AT_POINT * largest(first)
                reason = Reason.GRAD_OVERWRITTEN if overwritten else Reason.OTHER_SECOND_GRADIENT
                return [failed(name, reason.because()).looks_like(drawn_again(problem))], {}
    finally:
        for parameter in problem.module.parameters():
            parameter.grad = None
    # A backward that frees its saved tensors raises an error in a second pass.
    second = attempt(lambda: handed_out(y, _multiple(problem) * problem.cotangent, leaves))
    if isinstance(second, Available) and all(torch.isfinite(g).all() for g in second.value.values()):
        return [], second.value
    return [], {}


def first_call_matters(
    problem: Problem, called_elsewhere_first: Callable[[], Problem], second_pass: Gradients
) -> Preconditions:
    """Checks that fail if the gradient depends on the first call of the module.

    The gradient of −8 vᵀY must be −8 G, by a module that was first called at another point and by a second backward
    pass. Otherwise the module keeps a value or a cotangent of its first call, or its backward is not linear in v.

    Args:
        problem: the function, with its gradient G.
        called_elsewhere_first: makes the same problem with a module that is first called at another point.
        second_pass: the gradient of −8 vᵀY by `accumulated`.
    """
    try:
        moved = called_elsewhere_first()
    except InputError:  # the module does not take the other point
        return Preconditions([], [])
    y, leaves = moved.record()
    # The outputs may differ by rounding, since PyTorch may use other kernels when it records a graph.
    if (y.detach() - problem.y).abs().max() > SAME_AT_POINT * problem.y.abs().max():
        return Preconditions([failed_output(Reason.OUTPUT_REMEMBERS.because())], [])
    multiple, deferred = _multiple(problem), list[Check]()
    for name, found in handed_out(y, multiple * problem.cotangent, leaves).items():
        expected = multiple * problem.gradient[name]
        size = SAME_AT_POINT * largest(expected)
        if largest(found - second_pass[name]) > size:
            reason = Reason.OTHER_SECOND_WALK if largest(found - expected) <= size else Reason.GRADIENT_REMEMBERS
            return Preconditions([failed(name, reason.because()).looks_like(drawn_again(problem))], [])
        if differs(found, expected):
            deferred.append(_not_linear(problem, name, found, expected))
    return Preconditions([], deferred)


class CalledElsewhereFirst(Problem):
    """The same function at the same point, by a copy of the module that was first called at another point, where each
    number is larger by up to a tenth.

    Raises:
        InputError: if the module cannot be called at the other point.
    """

    def _first_call(self, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        generator = stream(self.seed, "another point")
        with self.put_back():
            for point in self.points.values():
                point.mul_(1 + 0.1 * torch.rand(point.shape, generator=generator).to(point))
            return super()._first_call(module, inputs)


def _not_linear(problem: Problem, name: str, found: Tensor, expected: Tensor) -> Check:
    entry = int((found - expected).abs().argmax())
    gives, right = distinct_digits(float(found.reshape(-1)[entry]), float(expected.reshape(-1)[entry]))
    where = list(problem.point_index(name, entry))
    how = f"for −8 times that gradient it gives {gives} at entry {where}, and {right} is −8 times what it gave before"
    return failed(name, Reason.NOT_LINEAR.because(how=how))


def _multiple(problem: Problem) -> float:
    """The factor of a cotangent that is far from v: −8, or −1/8 if the gradient would overflow."""
    return -8.0 if math.isfinite(8 * _largest_gradient(problem)) else -0.125


def _largest_gradient(problem: Problem) -> float:
    return max(map(largest, problem.gradient.values()))
