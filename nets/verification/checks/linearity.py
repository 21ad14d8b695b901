"""One backward pass must give the sum of the Jacobian's rows, for all points together and for some of them alone."""

from collections.abc import Collection, Mapping
from functools import partial

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.reason import Reason
from nets.text import distinct_digits
from nets.verification.attempt import Unavailable, attempt
from nets.verification.checks.answers import differs, failed
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.problem.graph import handed_out, pull_back
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

EQUAL_SUMS = 1e-13
"""The part of the largest number by which a gradient and the sum of its rows may differ."""


def check_pullback(
    problem: Problem,
    jacobians: Mapping[str, Tensor],
    noise: Mapping[str, Tensor],
    intended: Collection[str] = (),
) -> list[Check]:
    """One backward pass with a random v, each |v_m| about ten, must give vᵀ(∂Y/∂p).

    The pass runs once with all points, and once for each point as the only one that requires a gradient. Returns a
    failed check for the first gradient that differs; none if all agree. Points in `intended` are not checked.
    """
    generator = stream(problem.seed, "cotangent of ten")
    v = 10 * torch.randn(len(problem.y), generator=generator, dtype=torch.float64).to(problem.y.dtype)
    sums = {
        name: _Sum(problem, jacobian, v, noise[name]) for name, jacobian in jacobians.items() if name not in intended
    }
    for alone in (None, *problem.points):
        found = attempt(partial(_gradients, problem, v, None if alone is None else {alone}))
        if isinstance(found, Unavailable):
            # A hook, for example, may be called without a gradient for the input. With all points, the backward pass
            # worked before.
            if alone is None:
                raise found.error
            continue
        for name, gradient in found.value.items():
            how = sums[name].difference(name, gradient) if name in sums else ""
            if how:
                reason = Reason.NOT_LINEAR if alone is None else Reason.OTHER_WHERE_ALONE
                return [failed(name, reason.because(how=how))]
    return []


def check_parameters_alone(problem: Problem) -> list[Check]:
    """The gradient must be the same if no input requires one, as in training. Returns a failed check for the first one
    that differs."""
    alone = problem.parameters
    if not alone or len(alone) == len(problem.points):
        return []

    def gradients() -> dict[str, Tensor]:
        y, leaves = problem.record(alone)
        return handed_out(y, problem.cotangent, leaves)

    # A hook, for example, may be called without a gradient for the input. With all points, the backward pass worked.
    found = attempt(gradients)
    for name, gradient in (found.or_none() or {}).items():
        if differs(gradient, problem.gradient[name]):
            return [failed(name, Reason.OTHER_WITHOUT_INPUTS.because())]
    return []


def _gradients(problem: Problem, v: Tensor, alone: Collection[str] | None) -> dict[str, Tensor]:
    y, leaves = problem.record(alone)
    return pull_back(y, v, leaves)


class _Sum:
    """vᵀ(∂Y/∂p) by the rows of a Jacobian, and the largest difference of a single backward pass that rounding
    explains."""

    def __init__(self, problem: Problem, jacobian: Tensor, v: Tensor, noise: Tensor) -> None:
        self._problem, self._expected = problem, v @ jacobian
        size, units = v.abs() @ jacobian.abs(), v.abs() * problem.unit
        # Both are sums over the outputs. Each row has an error of its noise, and v one of the rounding of Y.
        rounding = v.abs() @ noise + units @ jacobian.abs()
        # A gradient that is zero by cancellation has the rounding error of the terms that cancel: at most a unit of the
        # output.
        least = max(EQUAL_SUMS * largest(size), float(units @ problem.y.abs()))
        self._tolerance = (ROUNDING_SAFETY * rounding).clamp(min=least)

    def difference(self, name: str, gradient: Tensor) -> str:
        """How a gradient differs from the sum, in words; '' if it does not."""
        error = (gradient.reshape(-1) - self._expected).abs()
        if not (error > self._tolerance).any():
            return ""
        entry = int(error.argmax())
        gives, total = distinct_digits(float(gradient.reshape(-1)[entry]), float(self._expected[entry]))
        where = list(self._problem.point_index(name, entry))
        return f"at entry {where} it gives {gives} where the sum over the outputs is {total}"
