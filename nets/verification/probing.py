"""Parameters too large to check entry by entry: random directions, and what they would have seen.

For a cotangent v and a direction t, both with random signs and sizes between 1/2 and 3/2, the number vᵀ(∂Y/∂p) t is known twice:
as the gradient of vᵀY, which the module's backward gives, times t; and as a difference of vᵀY along t. An error E of the gradient
shows as E·t, which a single wrong entry, row or scale cannot make vanish, and which several can only make vanish by accident,
since no two entries weigh the same. Each point is probed block by block of its rows, so that a small gradient in one
block is not drowned by a large one in another, and at single entries. A block that fails is halved until the entry is found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from nets.calculus.jacobians import Jacobian
from nets.verification.certificate import Check
from nets.verification.comparison import POWER
from nets.verification.difference import LADDER, SAFETY, is_constant, refine
from nets.verification.oracles import forward_along
from nets.verification.problem import Problem
from nets.verification.rounding import ROUNDING_SAFETY, StochasticRounding, pull_back, row_gradients

BLOCKS = 4
"""Blocks of rows that each point is cut into, each probed with signs of its own."""

SMALL = 1_024
"""Numbers in a point up to which it is one block."""

ENTRIES = 2
"""Single entries that are probed besides, one in every other block."""


@dataclass(frozen=True, slots=True)
class Probe:
    """vᵀ(∂Y/∂p) t by both derivations.

    Attributes:
        entries: the range of entries of the flattened point that the direction moves.
        direction: t, of the same length.
        actual: by the backward pass.
        expected: by differences.
        tolerance: how far apart rounding and truncation may have put them.
        reach: h ‖t‖, how far the point was moved for the difference.
        truncation: the error of the difference that rounding does not explain, measured here or at a larger direction.
    """

    entries: slice
    direction: Tensor
    actual: float
    expected: float
    tolerance: float
    reach: float
    truncation: float

    @property
    def excess(self) -> float:
        return abs(self.actual - self.expected) / self.tolerance


class Prober:
    """The gradient of vᵀY, by the module's backward or by closed form, and differences of vᵀY along any direction."""

    def __init__(self, problem: Problem, floor: Tensor, seed: int, closed: Mapping[str, Jacobian] | None = None) -> None:
        self.problem, self.floor, self.closed = problem, floor, closed
        self.generator = torch.Generator().manual_seed(seed)
        self.v = self.weights(len(problem.y))
        y, leaves = problem.record()
        backward = pull_back(y, self.v, leaves)
        with StochasticRounding(self.generator):
            y, leaves = problem.record()
            noisy = pull_back(y, self.v, leaves)
        self.rounding = {n: (noisy[n] - gradient).reshape(-1) for n, gradient in backward.items()}
        self.backward = {name: gradient.reshape(-1) for name, gradient in backward.items()}
        if closed is not None:
            backward = {name: jacobian.vjp(self.v.reshape(jacobian.shape[:2])) for name, jacobian in closed.items()}
        self.gradient = {name: gradient.reshape(-1) for name, gradient in backward.items()}
        self.noise = float((self.v * floor).norm())

    def column(self, name: str, entry: int) -> Tensor:
        """∂Y/∂p for one number p, by the derivation that is judged, shape (M,)."""
        if self.closed is not None:
            unit = torch.zeros_like(self.problem.points[name])
            unit.view(-1)[entry] = 1
            return self.closed[name].jvp(unit).reshape(-1)
        y, leaves = self.problem.record()
        rows = [row_gradients(y, row, {name: leaves[name]})[name].reshape(-1)[entry] for row in range(len(y))]
        return torch.stack(rows)

    def weights(self, count: int) -> Tensor:
        """Random signs, random sizes between 1/2 and 3/2."""
        signs = torch.randint(0, 2, (count,), generator=self.generator) * 2 - 1
        return signs * (torch.rand(count, generator=self.generator, dtype=torch.float64) + 0.5)

    def probe(self, name: str, entries: slice, larger: Probe | None = None) -> Probe:
        """Along a fresh direction over these entries: at the reach that served a larger direction, or else, and wherever that does
        not agree, at the reach with the smallest error."""
        t = self.weights(entries.stop - entries.start)
        if larger is not None:
            h = larger.reach / float(t.norm())
            found = self._held(name, entries, t, self._difference(name, entries, t, h), larger.truncation + self.noise / h, larger)
            if found.excess <= 1:
                return found
        return self._measured(name, entries, t)

    def _measured(self, name: str, entries: slice, t: Tensor) -> Probe:
        """The probe at the reach with the smallest sum of truncation error and noise."""
        length = float(t.norm())
        best: Probe | None = None
        wider = self._difference(name, entries, t, LADDER[1] / length)
        for reach in LADDER[2:5]:
            h = reach / length
            found = self._difference(name, entries, t, h)
            # D(8h) − D(h) = 63 h² f‴/6
            truncation = abs(wider - found) / 63
            held = self._held(name, entries, t, found, truncation + self.noise / h, None)
            held = replace(held, reach=reach, truncation=truncation)
            best = held if best is None or held.tolerance < best.tolerance else best
            wider = found
        assert best is not None
        return best

    def _held(self, name: str, entries: slice, t: Tensor, found: float, error: float, like: Probe | None) -> Probe:
        """The probe with its tolerance."""
        # A sum of rounding errors of random sign is about as large as the length of the vector of them.
        rounding = float((self.rounding[name][entries] * t).norm())
        actual = float(self.gradient[name][entries] @ t)
        tolerance = SAFETY * error + ROUNDING_SAFETY * max(rounding, abs(actual) * 2.0**-53)
        reach, truncation = (like.reach, like.truncation) if like is not None else (0.0, 0.0)
        return Probe(entries, t, actual, found, max(tolerance, 1e-300), reach, truncation)

    def _difference(self, name: str, entries: slice, t: Tensor, h: float) -> float:
        point = self.problem.points[name].view(-1)[entries]
        here = point.clone()
        try:
            torch.add(here, t, alpha=h, out=point)
            above = self.problem.evaluate()
            torch.sub(here, t, alpha=h, out=point)
            below = self.problem.evaluate()
        finally:
            point.copy_(here)
        return float(self.v @ (above - below)) / (2 * h)


def check_closed_form(prober: Prober, name: str) -> list[Check]:
    """The closed form against the other exact derivations: every entry of the gradient of vᵀY by reverse mode, and ∂Y/∂t by forward
    mode along four random directions."""
    assert prober.closed is not None
    point, jacobian = prober.problem.points[name], prober.closed[name]
    gradient, backward = prober.gradient[name], prober.backward[name]
    noise = max(float(prober.rounding[name].abs().max()), float(backward.abs().max()) * 2.0**-53)
    off = int(((gradient - backward).abs() > ROUNDING_SAFETY * noise).sum())
    reason = f"{off:,} of {len(gradient):,} entries of the gradient of a random sum of the outputs are off"
    checks = [Check.plain(name, "closed form", "reverse mode", len(gradient), "fail" if off else "pass", reason)]
    directions = torch.stack([prober.weights(point.numel()).reshape(point.shape) for _ in range(4)])
    slopes = forward_along(prober.problem, name, directions)
    if slopes is not None:
        ours = torch.stack([jacobian.jvp(t).reshape(-1) for t in directions], 1)
        # A sum over P numbers of either sign is off by about √P times what one of them is.
        scale = slopes.abs().max() * point.numel() ** 0.5 * 2.0**-53
        off = int(((ours - slopes).abs() > ROUNDING_SAFETY * scale).sum())
        reason = f"{off} of {slopes.numel()} slopes along four random directions are off"
        checks.append(Check.plain(name, "closed form", "forward mode", slopes.numel(), "fail" if off else "pass", reason))
    return checks


def check_by_probes(prober: Prober, name: str, oracle: str, seed: int) -> Check:
    """One check of one point; its reason says what it would have seen."""
    point = prober.problem.points[name]
    width = point[0].numel() if point.ndim else 1
    everything = slice(0, point.numel())
    blocks = _split(everything, min(BLOCKS, point.numel() // width), width) if point.numel() > SMALL else [everything]
    whole = prober.probe(name, everything)
    probes = [prober.probe(name, block, whole) for block in blocks]
    chosen = [
        int(torch.randint(block.start, block.stop, (), generator=prober.generator))
        for block in blocks[:: max(1, len(blocks) // ENTRIES)]
    ]
    probes += [whole, *(prober.probe(name, slice(entry, entry + 1), whole) for entry in chosen)]
    worst = max(probes, key=lambda probe: probe.excess)
    if worst.excess > 1:
        return _located(prober, name, worst, oracle)
    detects = min(p.tolerance / max(abs(p.actual), 1e-300) for p in probes[: len(blocks)])
    constant = detects > POWER and is_constant(prober.problem, name, prober.floor, seed)
    reason = _power(prober, name, probes[: len(blocks)], detects)
    if constant:
        reason = "zero up to rounding: the output does not depend on it"
    elif detects > POWER:
        reason = f"rounding: the gradient is too small here to see a fault below {detects:.1%}"
    return Check(
        parameter=name,
        oracle=oracle,
        against="central difference",
        entries=point.numel(),
        wrong=0,
        max_abs_error=abs(worst.actual - worst.expected),
        max_rel_error=abs(worst.actual - worst.expected) / max(abs(worst.expected), 1e-300),
        worst_index=(),
        expected=worst.expected,
        actual=worst.actual,
        tolerance=worst.tolerance,
        detects=detects,
        verdict="pass" if constant or detects <= POWER else "inconclusive",
        reason=reason,
    )


def _power(prober: Prober, name: str, probes: list[Probe], detects: float) -> str:
    """With what probability these probes would have seen one entry zeroed, one row zeroed or flipped, or a wrong scale.

    An entry e that is wrong by its own size moves the probe by |g_e t_e|, for certain; a row by a random sum of the size
    ‖g_r t_r‖, which falls within the tolerance with a probability of about tolerance / ‖g_r t_r‖. Averaged over entries and rows.
    """
    point = prober.problem.points[name]
    width = point[0].numel() if point.ndim else 1
    entries = rows = 0.0
    for probe in probes:
        moved = prober.gradient[name][probe.entries] * probe.direction
        entries += float((moved.abs() > probe.tolerance).sum()) / point.numel()
        sizes = moved.reshape(-1, width).norm(dim=1)
        hidden = (probe.tolerance / sizes.clamp(min=1e-300)).clamp(max=1.0)
        rows += float((1 - hidden).sum()) * width / point.numel()
    return (
        f"by probes, one zeroed entry is seen with probability {entries:.4f}, one zeroed or flipped row with "
        f"{rows:.4f}, a scale that is off by {detects:.0e} for certain"
    )


def _located(prober: Prober, name: str, probe: Probe, oracle: str) -> Check:
    """Halve the block that fails, going on with the half that fails by more, down to one entry; then look at every output."""
    problem = prober.problem
    while probe.entries.stop - probe.entries.start > 1:
        halves = [prober.probe(name, half, probe) for half in _split(probe.entries, 2)]
        probe = max(halves, key=lambda half: half.excess)
    entry = probe.entries.start
    if probe.excess <= 1:
        return Check.plain(name, oracle, "central difference", 1, "fail", "wrong derivative: a probe fails, its halves do not")
    column = refine(problem, name, entry, prober.floor)
    actual = prober.column(name, entry)
    error = (actual - column.derivative).abs() / column.tolerance.clamp(min=1e-300)
    row = int(error.argmax())
    expected = float(column.derivative[row])
    return Check(
        parameter=name,
        oracle=oracle,
        against="central difference",
        entries=len(problem.y),
        wrong=int((error > 1).sum()),
        max_abs_error=float((actual - column.derivative).abs().max()),
        max_rel_error=float((actual - column.derivative).abs().max()) / max(float(column.derivative.abs().max()), 1e-300),
        worst_index=problem.index(name, row, entry),
        expected=expected,
        actual=float(actual[row]),
        tolerance=float(column.tolerance[row]),
        detects=None,
        verdict="inconclusive" if column.kink.any() else "fail",
        reason="kink: there is no derivative here; move the point" if column.kink.any() else "wrong derivative, found by probes",
    )


def _split(entries: slice, parts: int, width: int = 1) -> list[slice]:
    """A range in parts of about the same length, each a whole number of rows of that width."""
    rows = (entries.stop - entries.start) // width
    marks = [entries.start + width * (rows * part // parts) for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(marks)]
