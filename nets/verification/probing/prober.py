"""Checks of points too large to check entry by entry, along random directions.

For a cotangent v and a direction t, both with random signs and sizes between 1/2 and 1, the number vᵀ(∂Y/∂p) t is
computed twice: as the gradient of vᵀY, which the module's backward gives, times t; and as a difference of vᵀY along t.
An error E of the gradient changes the first by E·t. A single wrong entry, row or scale makes E·t differ from zero;
several wrong entries cancel only by accident, since t has random sizes. Each point is probed in blocks of rows, so
that the rounding of a large gradient in one block does not hide a small one in another, and at single entries.
`bisection` finds the wrong entry behind a probe that fails.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor
from torch.func import vmap

from nets.calculus.jacobian import Jacobian
from nets.verification.attempt import attempt
from nets.verification.derivations.columns import CHUNK
from nets.verification.derivations.differences import units
from nets.verification.derivations.slopes import DIFFERENCE_SAFETY
from nets.verification.noise.rounding import ROUNDING_SAFETY, StochasticRounding
from nets.verification.probing.probe import Move, Probe, Slope, doubled, length, moves_of, same_slope
from nets.verification.problem.graph import handed_out
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import signed, stream

REACHES = tuple(2.0**-k for k in (14, 17, 11, 20, 8, 23, 5))
"""How far a point is moved, in the order in which they are tried: far enough for a small rounding error, and near
enough to cross few kinks."""

CONFIRMATIONS = 2
"""No other reach is tried after so many precise ones that disagree with the gradient and agree with each other."""

FINE_REACHES = tuple(2.0**-k for k in range(26, 44, 2))
"""Reaches that are tried if all others seem to cross a kink, largest first."""

UNSURE = 1e-3
"""A difference with a larger relative error is too inaccurate for a verdict."""

PRECISE_PROBE = 1e-6
"""If the relative error of a difference is smaller, no other reach is tried."""


class Prober:
    """The gradient of vᵀY, by the module's backward or by closed form, and differences of vᵀY along any direction.

    Attributes:
        gradient: vᵀ(∂Y/∂p) of every point, flattened, by the derivation that is judged.
        backward: the same by the module's backward.
        searched: the number of points in which the wrong entry was searched for.
        noise: the rounding error of vᵀY.
        declared: the error that the caller allows in an entry of the gradient, in parts of the largest entry.
    """

    def __init__(
        self,
        problem: Problem,
        floor: Tensor,
        closed: Mapping[str, Jacobian] | None = None,
        declared: float = 0.0,
    ) -> None:
        self.problem, self.floor, self.closed, self.declared = problem, floor, closed, declared
        self.generator = stream(problem.seed, "directions")
        self.here = {name: point.reshape(-1).clone() for name, point in problem.points.items()}
        self.v = problem.cotangent
        self.backward = {name: gradient.reshape(-1) for name, gradient in problem.gradient.items()}
        # A separate generator, so that the directions do not depend on what the module does.
        with StochasticRounding(stream(problem.seed, "rounding of the probed gradient")):
            noisy = self._pulled_back(self.v)
        self.rounding = {
            name: (noisy[name] - gradient).nan_to_num_(nan=0.0) for name, gradient in self.backward.items()
        }
        self.gradient = self.backward if closed is None else self.pull_back(self.v)
        self.noise = length(self.v * floor)
        self.searched, self._batched = 0, not problem.random

    def pull_back(self, v: Tensor) -> dict[str, Tensor]:
        """vᵀ(∂Y/∂p) of every point, flattened, by the derivation that is judged."""
        if self.closed is None:
            return self._pulled_back(v)
        return {
            name: jacobian.vjp(v.reshape(jacobian.output_shape)).reshape(-1) for name, jacobian in self.closed.items()
        }

    def allowed(self, name: str) -> float:
        """The error that the caller allows in each entry of the gradient by a point."""
        return self.declared * largest(self.gradient[name])

    def allowed_along(self, name: str, t: Tensor) -> float:
        """The error of the slope along t that follows from `allowed`: errors of random sign in each entry add up to
        about the allowed error times ‖t‖; DIFFERENCE_SAFETY times that."""
        return DIFFERENCE_SAFETY * self.allowed(name) * length(t) if self.declared else 0.0

    def weights(self, count: int) -> Tensor:
        """A new random direction with so many entries."""
        return signed(count, self.generator)

    def look(self, name: str, parts: list[tuple[slice, Tensor]]) -> tuple[Probe, list[Probe]]:
        """The probe of a whole point along a new direction, and the probes of parts of it along given directions.

        The parts are probed at the reach that suits the whole point, and only if the whole point agrees. One call of
        the module under vmap serves for all, if the point is not too large, the module works under vmap and the first
        reach is precise enough. A probe under vmap that disagrees is repeated without vmap, which may be the cause.
        """
        everything, t, reach = slice(0, len(self.here[name])), self.weights(len(self.here[name])), REACHES[0]
        moves = [*doubled(everything, t, reach), *moves_of(parts, reach)]
        sides = self._at_once(name, moves)
        if sides is not None:
            narrow, wide, *others = self._slopes(moves, sides)
            whole = self._with_bar(name, everything, t, reach, narrow, wide)
            if whole.excess <= 1 and self._precise(whole):
                return whole, self._like(whole, name, parts, others)
        whole = self.measured(name, everything, t)
        if whole.excess > 1:
            return whole, []
        return whole, self._like(whole, name, parts, self._differences(name, moves_of(parts, whole.reach)))

    def measured(self, name: str, entries: slice, t: Tensor | None = None) -> Probe:
        """The probe along a direction, a new one if none is given, at the first reach that is precise enough and
        agrees.

        If there is none, it is the probe with the smallest tolerance, if possible one that crosses no kink. After a
        probe that disagrees, which may cross a kink, a probe that agrees is accepted only if its tolerance is at most
        half of that disagreement.
        """
        t = self.weights(entries.stop - entries.start) if t is None else t
        found, doubted, doubt = list[Probe](), list[Probe](), math.inf
        point = self.problem.points[name]
        # First in units of 1, then in units of the size of the point.
        for reach in chain(REACHES, (unit * reach for unit in units(point)[1:] for reach in REACHES), FINE_REACHES):
            if reach == FINE_REACHES[0] and any(map(self._precise, found)):
                break
            found.append(probe := self.at(name, entries, t, reach))
            enough = self._precise(probe) and probe.tolerance <= doubt / 2
            if enough and probe.excess <= 1:
                return probe
            if enough:
                doubt = abs(probe.actual - probe.expected)
                doubted.append(probe)
            if len(doubted) == CONFIRMATIONS and same_slope(*doubted):
                break
        best = min(
            found, key=lambda probe: (probe.kinked, probe.tolerance if probe.tolerance == probe.tolerance else math.inf)
        )
        # If larger moves cross a kink and smaller ones drown in rounding, the derivative cannot be measured.
        hidden = best.tolerance > UNSURE * abs(best.expected) and any(probe.kinked for probe in found)
        return replace(best, kinked=best.kinked or hidden)

    def at(self, name: str, entries: slice, t: Tensor, reach: float) -> Probe:
        """The probe along t at that reach; its error follows from a second difference at twice the reach."""
        return self._with_bar(name, entries, t, reach, *self._differences(name, doubled(entries, t, reach)))

    def singles(self, name: str, entries: list[int], reach: float) -> list[Probe]:
        """The probe along each of these entries, from one call of the module if it works under vmap."""
        one = torch.ones(1, dtype=torch.float64)
        parts = [slice(entry, entry + 1) for entry in entries]
        moves = [move for part in parts for move in doubled(part, one, reach)]
        sides = self._at_once(name, moves)
        slopes = self._differences(name, moves) if sides is None else self._slopes(moves, sides)
        pairs = zip(slopes[::2], slopes[1::2], strict=True)
        return [self._with_bar(name, part, one, reach, *pair) for part, pair in zip(parts, pairs, strict=True)]

    def slope(self, name: str, entries: slice, t: Tensor, reach: float) -> float:
        """vᵀ(∂Y/∂p) t by one difference."""
        return self._differences(name, moves_of([(entries, t)], reach))[0].mean

    def _with_bar(self, name: str, entries: slice, t: Tensor, reach: float, narrow: Slope, wide: Slope) -> Probe:
        # D(2h) − D(h) = 3 h² f‴/6
        truncation = abs(wide.mean - narrow.mean) / 3
        # For a smooth f the slopes to the two sides differ by h f″, which halves with h.
        left = abs(2 * narrow.bend - wide.bend)
        kinked = left > max(12 * DIFFERENCE_SAFETY * self.noise / narrow.step, abs(narrow.bend) / 2)
        return self._probe(name, entries, t, narrow, reach, truncation, kinked)

    def _like(self, whole: Probe, name: str, parts: list[tuple[slice, Tensor]], slopes: list[Slope]) -> list[Probe]:
        """Probes of parts at the reach and with the truncation error of the whole. A part that disagrees is measured
        again at reaches of its own."""
        probes = [
            self._probe(name, entries, t, slope, whole.reach, whole.truncation, kinked=False)
            for (entries, t), slope in zip(parts, slopes, strict=True)
        ]
        return [p if p.excess <= 1 else self.measured(name, p.entries, p.direction) for p in probes]

    @staticmethod
    def _precise(probe: Probe) -> bool:
        """Whether the probe is so precise that no other reach is needed if it agrees."""
        return probe.tolerance <= PRECISE_PROBE * abs(probe.expected) and not probe.kinked

    def _probe(
        self, name: str, entries: slice, t: Tensor, slope: Slope, reach: float, truncation: float, kinked: bool
    ) -> Probe:
        """The probe with its tolerance."""
        # Rounding errors of random sign add up to about the length of the vector of these errors.
        rounding = length(self.rounding[name][entries] * t)
        actual = float(self.gradient[name][entries] @ t)
        error = truncation + self.noise / slope.step
        tolerance = (
            self.allowed_along(name, t)
            + DIFFERENCE_SAFETY * error
            + ROUNDING_SAFETY * max(rounding, abs(actual) * 2.0**-53)
        )
        return Probe(entries, t, actual, slope.mean, max(tolerance, 1e-300), reach, truncation, kinked)

    def _differences(self, name: str, moves: list[Move]) -> list[Slope]:
        """The slope of each move, by one call of the module at each of its two ends."""
        return self._slopes(moves, [self._sides(name, *move) for move in moves])

    def _slopes(self, moves: list[Move], sides: list[tuple[Tensor, Tensor]]) -> list[Slope]:
        y, v = self.problem.y, self.v
        return [
            Slope(float(v @ (above - below)) / (2 * h), float(v @ ((above - y) - (y - below))) / h, h)
            for (above, below), (_, _, h) in zip(sides, moves, strict=True)
        ]

    def _sides(self, name: str, entries: slice, t: Tensor, h: float) -> tuple[Tensor, Tensor]:
        """Y at p + h t and at p − h t."""
        point, here = self.problem.points[name].view(-1)[entries], self.here[name][entries]
        try:
            torch.add(here, t, alpha=h, out=point)
            above = self.problem.evaluate()
            torch.sub(here, t, alpha=h, out=point)
            return above, self.problem.evaluate()
        finally:
            point.copy_(here)

    def _at_once(self, name: str, moves: list[Move]) -> list[tuple[Tensor, Tensor]] | None:
        """Y at both ends of each move, from copies of the point under vmap.

        None if the copies are too large or the module does not work under vmap.
        """
        if not self._batched or 2 * len(moves) * len(self.here[name]) > CHUNK:
            return None
        copies = self.here[name].repeat(2, len(moves), 1)
        for (entries, t, h), above, below in zip(moves, *copies, strict=True):
            above[entries].add_(t, alpha=h)
            below[entries].sub_(t, alpha=h)
        moved = copies.view(-1, *self.problem.points[name].shape)
        with torch.no_grad():
            sides = attempt(lambda: vmap(lambda point: self.problem.along(name, point))(moved)).or_none()
        if sides is None:
            self._batched = False
            return None
        return list(zip(*sides.view(2, len(moves), -1), strict=True))

    def _pulled_back(self, v: Tensor) -> dict[str, Tensor]:
        y, leaves = self.problem.record()
        found = handed_out(y, v, leaves)
        return {name: gradient.reshape(-1) for name, gradient in found.items()}
