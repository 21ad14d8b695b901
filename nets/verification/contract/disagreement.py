"""Two gradients of vᵀY that should be equal: whether they differ by more than rounding explains, and where."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import distinct_digits, index_text
from nets.verification.attempt import Available, attempt
from nets.verification.contract.graph_nodes import custom_backward_raises
from nets.verification.contract.recorded import BackwardPasses, CotangentChoice, record
from nets.verification.noise.rounding import ROUNDING_SAFETY, StochasticRounding
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

GRADIENT_PASSES = 8
"""Runs with stochastic rounding. The noise of a gradient is the largest deviation in them."""

EQUAL_GRADIENTS = 1e-9
"""Gradients that differ by less than this part of the largest entry are equal; noise is measured only beyond it."""

Gradients = Mapping[str, Tensor]
"""Point → gradient of vᵀY."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What a backward pass gave instead of the right gradient.

    Attributes:
        name: the point whose gradient is wrong; 'all' where the backward pass raised an error.
        at: the entry with the largest error, such as 'weight[0, 1]'.
        found: what the backward pass gave there.
        expected: what is right there.
        raised: the error, if the backward pass raised one.
    """

    name: str
    at: str = ""
    found: float = 0.0
    expected: float = 0.0
    raised: str = ""

    def check(self, reason: Reason, **facts: object) -> Check:
        """The failed check.

        Args:
            reason: the circumstance in which the gradient is wrong.
            facts: of the reason's sentence, besides the fault and the values.
        """
        found, right = distinct_digits(self.found, self.expected)
        fault = f"the backward pass raises {self.raised}" if self.raised else "wrong derivative"
        values = "" if self.raised else f"; at {self.at} it gives {found}, not {right}"
        why = reason.because(fault=fault, values=values, **facts)
        return Check.without_entry(self.name, Method.REVERSE_MODE, Method.ITSELF, Verdict.FAIL, why)


def find_disagreement(
    passes: BackwardPasses, choice: CotangentChoice, expected: Gradients, *, own_errors: bool = True
) -> Disagreement | None:
    """How the gradients for these cotangents differ from the expected ones; None where they do not.

    A disagreement is confirmed with a new graph, since a backward that damages its own graph is reported elsewhere.

    Args:
        passes: the backward passes of a problem.
        choice: the cotangents.
        expected: the gradients that are right for them.
        own_errors: whether an error that an operation of PyTorch raises counts as well.
    """
    found = _disagreement(passes, choice, expected, own_errors)
    if found is None:
        return None
    passes.forget_graph()
    return _disagreement(passes, choice, expected, own_errors)


def _disagreement(
    passes: BackwardPasses, choice: CotangentChoice, expected: Gradients, own_errors: bool
) -> Disagreement | None:
    found = attempt(lambda: passes.pull_back(choice))
    if isinstance(found, Available):
        return disagreement(passes.problem, found.value, expected)
    if not own_errors and not custom_backward_raises(passes.call.outputs, lambda: passes.pull_back(choice)):
        return None
    return Disagreement("all", raised=found.why)


def disagreement(problem: Problem, found: Gradients, expected: Gradients) -> Disagreement | None:
    """The first point whose gradients differ by more than rounding explains, and the entry with the largest error."""
    noise: dict[str, float] | None = None
    for name, gradient in found.items():
        error = (gradient - expected[name]).abs().nan_to_num(nan=torch.inf)
        if error.numel() == 0 or largest(error) <= EQUAL_GRADIENTS * largest(expected[name]):
            continue
        noise = noise or _noise(problem)
        if largest(error) > ROUNDING_SAFETY * noise[name]:
            entry = int(error.argmax())
            at = name + index_text(problem.point_index(name, entry))
            return Disagreement(name, at, float(gradient.reshape(-1)[entry]), float(expected[name].reshape(-1)[entry]))
    return None


def _noise(problem: Problem) -> dict[str, float]:
    """For each point, the largest change that rounding makes in any entry of the gradient of vᵀY."""
    generator = stream(problem.seed, "rounding of a backward pass")
    exact = problem.gradient
    noise = {name: 2 * torch.finfo(g.dtype).eps * largest(g) if g.numel() else 0.0 for name, g in exact.items()}
    for _ in range(GRADIENT_PASSES):
        with StochasticRounding(generator):
            call = record(problem)
            moved = call.pull_back(call.cotangents)
        for name, gradient in moved.items():
            noise[name] = max(noise[name], float((gradient - exact[name]).abs().nan_to_num(nan=0.0).max()))
    return noise
