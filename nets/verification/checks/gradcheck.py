"""PyTorch's own `gradcheck` and `gradgradcheck`, run on the closed form as the backward of a `torch.autograd.Function`.

Both move each number by one fixed step, 1e-6 by default. If a kink is nearer than that, as in a rectified network with
small weights, the difference that they take is no derivative. So the step is chosen first, by differences along a few
random directions, and an objection of the tools is a fault only if a difference along one of these directions confirms
it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.gradcheck import GradcheckError

from nets.calculus.function import closed_form
from nets.calculus.network import Network
from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.text import precision_name
from nets.verification.attempt import Available, attempt, quiet
from nets.verification.derivations.by_layers import network_input
from nets.verification.derivations.slopes import DIFFERENCE_SAFETY
from nets.verification.noise.low_precision import coarsest_of, results_of
from nets.verification.noise.output_noise import OUTPUT_PASSES
from nets.verification.noise.rounding import StochasticRounding
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import signed, stream

FIRST_ORDER_BUDGET = 3_000
SECOND_ORDER_BUDGET = 1_000
"""The most numbers in parameters and inputs for which every entry is checked, at first and at second order. The time of
the slow mode is proportional to this number, or to its square. Beyond, the fast mode checks one projection of all
entries, and the check says so."""

TOOL_STEPS = (1e-6, 1e-8, 1e-10, 1e-12)
"""The steps that are tried, PyTorch's default first. With the last one, a derivative of size one has an error of about
a thousandth."""

ATOL, RTOL = 1e-5, 1e-3
"""The default tolerances of the two tools for a difference, absolute and relative."""

STEP_DIRECTIONS, FAST_DIRECTIONS = 8, 2
"""Random directions in each point along which the step is chosen, in the slow mode and in the fast mode."""

REACH_FACTOR = 2.0
"""To choose the step, the point is moved this many times as far as the tools will move it."""

Function = Callable[..., Tensor]
Points = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class DirectionalSlopes:
    """Differences of Σ_m w_m f_m for a random w along some directions, with each of TOOL_STEPS; shape (directions,
    steps).

    Attributes:
        central: (f(p + h t) − f(p − h t)) / 2h.
        gap: the slope on the right less the slope on the left.
        noise: the rounding error of `central`, shape (steps,).
        exact: the slope along each direction by autograd, shape (directions,).
        twice: (direction, step) → the central difference with twice that step.
    """

    central: Tensor
    gap: Tensor
    noise: Tensor
    exact: Tensor
    twice: Callable[[int, int], float]

    def settled(self) -> Tensor:
        """The steps within which there seems to be no kink: with every smaller step the slope is the same, and the same
        on both sides. Shape (steps,)."""
        found = []
        for step in range(len(TOOL_STEPS)):
            slope, finer = self.central[:, step, None], slice(min(step + 1, len(TOOL_STEPS) - 1), None)
            allowed = ATOL + RTOL / 10 * slope.abs() + 4 * DIFFERENCE_SAFETY * (self.noise[finer] + self.noise[step])
            level = (self.central[:, finer] - slope).abs() <= allowed
            found.append((level & (self.gap[:, finer].abs() <= allowed)).all())
        return torch.stack(found)

    def confirm(self, step: int) -> bool:
        """Whether autograd is wrong along one of the directions, by more than the rounding and truncation of the
        difference."""
        finer = min(step + 1, len(TOOL_STEPS) - 1)
        slope, other = self.central[:, step], self.central[:, finer]
        allowed = DIFFERENCE_SAFETY * (self.noise[step] + (slope - other).abs()) + 1e-9 * slope.abs()
        error = (slope - self.exact).abs() - allowed
        # The truncation error is proportional to h². At the smaller step it may be hidden by rounding; twice the step
        # shows it.
        return any(error[d] > abs(self.twice(d, step) - slope[d]) for d in (error > 0).nonzero()[:, 0].tolist())


def check_function(network: Network, problem: Problem, intended: Collection[str] = ()) -> list[Check]:
    """The closed form as autograd sees it: first order, and the gradient of the gradient. Points in `intended` are not
    checked."""
    moved = {name: point for name, point in problem.points.items() if name not in intended}
    x = _few_samples(network, problem)
    if not moved:
        return []

    def function(*points: Tensor) -> Tensor:
        at = {**problem.points, "input": x} | dict(zip(moved, points, strict=True))
        with problem.same_draws():
            return closed_form(network, at.pop("input"), at)

    points = tuple((x if name == "input" else point).clone().requires_grad_() for name, point in moved.items())
    y = function(*points)
    v = signed(y.numel(), stream(problem.seed, "cotangent of gradgradcheck")).to(y.dtype).reshape(y.shape)

    def gradient(*arguments: Tensor) -> Tensor:
        *points, v = arguments
        graph = torch.is_grad_enabled()  # without a graph, which differences do not need, a call takes half of the time
        with torch.enable_grad():
            total = (v * function(*points)).sum()
            found = torch.autograd.grad(total, points, create_graph=graph, materialize_grads=True)
        return torch.cat([part.reshape(-1) for part in found])

    size, outputs = sum(point.numel() for point in points), y.numel()
    unsuited = problem.call_with(_computes_coarsely)
    first = _Tool(Method.GRADCHECK, gradcheck, size * outputs, size <= FIRST_ORDER_BUDGET, unsuited)
    second = _Tool(Method.GRADGRADCHECK, gradgradcheck, (size + outputs) * size, size <= SECOND_ORDER_BUDGET, unsuited)
    return [
        first.check(function, points, function, points, problem.seed),
        # The tool moves the cotangent as well, since the gradient is differentiated by it.
        second.check(function, points, gradient, (*points, v.requires_grad_()), problem.seed),
    ]


def _few_samples(network: Network, problem: Problem) -> Tensor:
    """X of two samples, which are enough to show whether a sum over the batch is right; all of X for a network that
    takes no batch of two."""
    x = network_input(problem)
    with problem.same_draws(), torch.no_grad():
        taken = attempt(lambda: network(x[:2]))
    return x[:2] if isinstance(taken, Available) else x


def _computes_coarsely(network: Network, x: Tensor) -> Finding | None:
    """The first layer that computes in a lower precision than the network; None if there is none."""
    own = coarsest_of([x.dtype] if x.is_floating_point() else [parameter.dtype for parameter in network.parameters()])
    for name, layer in network.parts.items():
        found = coarsest_of(results_of(lambda: layer(x)) | {own})  # noqa: B023
        if found != own:
            kind = type(layer).__name__
            return Reason.LOWER_PRECISION.because(name=name, layer=kind, precision=precision_name(found))
        x = layer(x)
    return None


@dataclass(frozen=True, slots=True)
class _Tool:
    """One of the two tools.

    Attributes:
        name: of the tool.
        run: the tool.
        entries: the number of entries that it compares.
        slow: whether it compares each of them.
        unsuited: why no step suits the tool; None where none is known.
    """

    name: Method
    run: Callable[..., bool]
    entries: int
    slow: bool
    unsuited: Finding | None

    def check(self, function: Function, points: Points, moved: Function, arguments: Points, seed: int) -> Check:
        """A pass if the tool has no objection with one of the steps; a failure if differences confirm the objection;
        else inconclusive.

        Args:
            function: the function that the tool checks.
            points: its arguments.
            moved: the function whose differences the tool computes.
            arguments: of that function.
            seed: of the random directions.
        """
        slopes = _slopes(moved, arguments, self.slow, seed)
        settled = slopes.settled()
        # If there is no such step, a kink is at the point or very near it. The tool may not notice it.
        first = int(settled.int().argmax())
        if not self.slow and bool(settled[first]) and slopes.confirm(first):
            # If the fast mode objects, it runs the slow mode to say where, which may take minutes.
            return self._objected("the slope along a random direction is not what autograd gives")
        failure = self._objection(function, points, TOOL_STEPS[first])
        if failure and bool(settled[first]) and slopes.confirm(first):
            return self._objected(failure)
        for step in range(first + 1, len(TOOL_STEPS) if bool(settled[first]) else 0):
            if not failure:
                break
            first, failure = step, self._objection(function, points, TOOL_STEPS[step])
        if failure:
            unconfirmed = f"{failure}, which differences along random directions do not show"
            why = self._objects(unconfirmed) if bool(settled[first]) else Reason.KINK.because()
            return self._check(Verdict.INCONCLUSIVE, self.unsuited or why)
        scope = self._scope() + (f", with steps of {TOOL_STEPS[first]:.0e}" if first else "")
        return self._check(Verdict.PASS, Reason.GRADCHECKED.because(scope=scope))

    def _objected(self, objection: str) -> Check:
        return self._check(Verdict.FAIL, self._objects(objection))

    def _objects(self, objection: str) -> Finding:
        return Reason.GRADCHECK_OBJECTS.because(scope=self._scope(), objection=objection)

    def _objection(self, function: Function, points: Points, eps: float) -> str:
        """The objection of the tool; '' if there is none."""
        try:
            # gradgradcheck draws its cotangents from the global generator, which verify puts back.
            with quiet():
                self.run(function, points, eps=eps, atol=ATOL, rtol=RTOL, fast_mode=not self.slow)
        except GradcheckError as error:
            return str(error).strip().splitlines()[0].rstrip(":,. ")
        return ""

    def _scope(self) -> str:
        return f"every one of {self.entries:,} entries" if self.slow else f"one projection of {self.entries:,} entries"

    def _check(self, verdict: Verdict, found: Finding) -> Check:
        entries = self.entries if self.slow else 1
        return Check.without_entry("all", Method.CLOSED_FORM, self.name, verdict, found, entries=entries)


def _slopes(moved: Function, points: Points, every: bool, seed: int) -> DirectionalSlopes:
    """Differences along random directions in each of the points.

    In the slow mode, which moves each entry by one step, a direction moves every entry that far. In the fast mode it
    has the length of the direction of that mode.
    """
    generator = stream(seed, "directions of gradcheck")
    value = moved(*points)
    w = signed(value.numel(), generator).to(value.dtype).reshape(value.shape)
    total = (w * value).sum()
    # The gradient of a layer that only multiplies by a number is constant.
    flat = tuple(torch.zeros_like(point) for point in points)
    gradients = torch.autograd.grad(total, points, materialize_grads=True) if total.requires_grad else flat
    base, rows, exact, directions = value.detach(), [], [], list[tuple[int, Tensor]]()
    noise = _noise(moved, points, base, w, seed)
    for place, (point, gradient) in enumerate(zip(points, gradients, strict=True)):
        for _ in range(STEP_DIRECTIONS if every else FAST_DIRECTIONS):
            t = signed(point.numel(), generator).to(point.dtype).reshape(point.shape)
            t *= REACH_FACTOR if every else REACH_FACTOR / torch.linalg.vector_norm(t)
            directions.append((place, t))
            rows.append([_slope(moved, points, place, h * t, h, base, w) for h in TOOL_STEPS])
            exact.append(float((gradient.detach() * t).sum()))

    def twice(direction: int, step: int) -> float:
        place, t = directions[direction]
        return _slope(moved, points, place, 2 * TOOL_STEPS[step] * t, 2 * TOOL_STEPS[step], base, w)[0]

    central, gap = torch.tensor(rows, dtype=torch.float64).unbind(-1)
    steps, slopes = torch.tensor(TOOL_STEPS, dtype=torch.float64), torch.tensor(exact, dtype=torch.float64)
    return DirectionalSlopes(central, gap, noise / steps, slopes, twice)


def _noise(moved: Function, points: Points, base: Tensor, w: Tensor, seed: int) -> float:
    """The rounding error of Σ_m w_m f_m: the largest change in some random runs, and at least a unit of each term."""
    generator, found = (
        stream(seed, "rounding for gradcheck"),
        float((w * base).abs().sum()) * torch.finfo(base.dtype).eps / 2,
    )
    for _ in range(OUTPUT_PASSES):
        with StochasticRounding(generator):
            noisy = moved(*points).detach()
        found = max(found, float((w * (noisy - base)).sum().abs()))
    return found


def _slope(
    moved: Function, points: Points, place: int, by: Tensor, h: float, base: Tensor, w: Tensor
) -> tuple[float, float]:
    """The central difference and the gap between the slopes to both sides, by two evaluations."""
    here = points[place].detach()
    upper, lower = here + by, here - by
    with torch.no_grad():
        above, below = (
            moved(*points[:place], there.requires_grad_(), *points[place + 1 :]).detach() for there in (upper, lower)
        )
    # The distance of p + h t and p − h t after rounding, in units of t.
    width = float((((upper - lower) * by).sum() / (by * by).sum()).detach()) * h
    return float((w * (above - below)).sum()) / width, float((w * ((above - base) - (base - below))).sum()) / h
