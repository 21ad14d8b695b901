"""Two gradients of vᵀY that ought to be the same: where they differ by more than rounding explains, and how that is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.text import indexed, one_line, told_apart
from nets.verification.contract.recorded import Cotangents, Walks, record
from nets.verification.contract.watching import raised_in_python
from nets.verification.noise.rounding import ROUNDING_SAFETY, StochasticRounding
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

PASSES = 8
"""Runs with results rounded at random, to measure the noise of a gradient; the largest deviation counts."""

Gradients = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What a backward pass gave in place of the right gradient.

    Attributes:
        name: the point whose gradient is off; 'all' where the backward pass raised an error.
        at: the entry that is off by the most, as in 'weight[0, 1]'.
        found: what it gave there.
        expected: what is right there.
        raised: the error, if there was one.
    """

    name: str
    at: str = ""
    found: float = 0.0
    expected: float = 0.0
    raised: str = ""

    def check(self, where: str, otherwise: str) -> Check:
        """The failed check; `where` it is wrong, and where it is right `otherwise`."""
        if self.raised:
            why = Reason.BACKWARD_RAISES.because(error=f"{self.raised} {where}")
        else:
            found, right = told_apart(self.found, self.expected)
            text = f"wrong derivative {where}: at {self.at} it gives {found}, and {right} {otherwise}"
            why = Finding(Reason.WRONG_DERIVATIVE, text)
        return Check.without_entry(self.name, Method.REVERSE_MODE, Method.ITSELF, Verdict.FAIL, why)


def pulled_back(
    walks: Walks, chosen: Callable[[list[Tensor]], Cotangents], expected: Gradients, *, own_errors: bool = True
) -> Disagreement | None:
    """How the gradients for these cotangents differ from what is expected; None where they do not.

    It is looked at twice, the second time through a graph that nobody has walked before: a backward that spoils its own graph is
    found elsewhere.

    Args:
        own_errors: whether an error that one of PyTorch's own operations raises counts as well.
    """
    found = _pulled_back(walks, chosen, expected, own_errors)
    if found is None:
        return None
    walks.anew()
    return _pulled_back(walks, chosen, expected, own_errors)


def _pulled_back(
    walks: Walks, chosen: Callable[[list[Tensor]], Cotangents], expected: Gradients, own_errors: bool
) -> Disagreement | None:
    try:
        found = walks.pull_back(chosen)
    except Exception as error:  # whatever a backward of the user's raises
        if not own_errors and not raised_in_python(walks.recorded.outputs, lambda: walks.pull_back(chosen)):
            return None
        return Disagreement("all", raised=f"{type(error).__name__}: {one_line(error)}")
    return disagreement(walks.problem, found, expected)


def disagreement(problem: Problem, found: Gradients, expected: Gradients) -> Disagreement | None:
    """The first point whose gradients differ by more than rounding explains, and the entry that differs the most."""
    noise: dict[str, float] | None = None
    for name, gradient in found.items():
        error = (gradient - expected[name]).abs().nan_to_num(nan=torch.inf)
        if error.numel() == 0 or largest(error) <= 1e-9 * largest(expected[name]):
            continue
        noise = noise or _noise(problem)
        if largest(error) > ROUNDING_SAFETY * noise[name]:
            entry = int(error.argmax())
            at = name + indexed(problem.point_index(name, entry))
            return Disagreement(name, at, float(gradient.reshape(-1)[entry]), float(expected[name].reshape(-1)[entry]))
    return None


def _noise(problem: Problem) -> dict[str, float]:
    """The largest change that rounding makes in any entry of the gradient of vᵀY, for each point; measured only where two gradients
    are not the same to begin with."""
    generator = stream(problem.seed, "rounding of a backward pass")
    exact = problem.gradient
    noise = {name: 2 * torch.finfo(g.dtype).eps * largest(g) if g.numel() else 0.0 for name, g in exact.items()}
    for _ in range(PASSES):
        with StochasticRounding(generator):
            call = record(problem)
            moved = call.pull_back(call.cotangents)
        for name, gradient in moved.items():
            noise[name] = max(noise[name], float((gradient - exact[name]).abs().nan_to_num(nan=0.0).max()))
    return noise
