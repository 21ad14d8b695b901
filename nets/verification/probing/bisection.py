"""From a probe that fails to the wrong entry, by bisection: one difference for each halving.

For the direction t of the probe, the error E·t of a range of entries is the sum of the errors of its halves, so one of
the two has at least half of it. Measuring one half gives the other. After log₂ P halvings of the point and log₂ M of
the outputs, one entry of the Jacobian is left. It is measured at many steps. The entries around it show which mistake
it may be.
"""

import math

import torch

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.text import distinct_from_one
from nets.verification.derivations.domain import edge
from nets.verification.derivations.refinement import Refined, refine
from nets.verification.derivations.variable import Variable
from nets.verification.fault_patterns.experiments import experiment
from nets.verification.fault_patterns.fault import ALIKE
from nets.verification.fault_patterns.places import one_slice
from nets.verification.fault_patterns.scales import named_factor
from nets.verification.probing.probe import Probe, split
from nets.verification.probing.prober import Prober
from nets.verification.problem.randomness import stream

AROUND = 8
"""Entries of the same row, of the same column and of neither that are measured to find the mistake."""

TRIES = 8
"""Further probes after one that fails."""

CONFIRMED = 3
"""How many of them must fail as well, if no single entry is found to be wrong."""


def located(prober: Prober, name: str, probe: Probe, oracle: str) -> Check | None:
    """The check that shows the wrong entry behind a probe that fails.

    None if another probe of the same range agrees, and would have seen the fault. One probe may fail by accident, if
    its step crosses a kink; a real fault is seen along every direction, if the tolerance is small enough.
    """
    failed, looked = 1, False
    for _ in range(TRIES):
        found = None if looked else _confirmed(prober, name, probe, oracle)
        if found is not None:
            return found
        other = prober.measured(name, probe.entries)
        if other.excess <= 1 and other.bound <= _foreseen(probe, other):
            return None
        looked = other.excess <= 1
        if not looked:
            failed, probe = failed + 1, other
        if failed > CONFIRMED:
            break
    if probe.kinked:
        return _by_probes(name, oracle, Verdict.INCONCLUSIVE, Reason.KINK.because())
    if failed > CONFIRMED:
        return _by_probes(name, oracle, Verdict.FAIL, Reason.PROBES_FAIL.because())
    blunt = Reason.NO_SHARP_PROBE.because(error=abs(probe.actual - probe.expected), tries=TRIES)
    return _by_probes(name, oracle, Verdict.INCONCLUSIVE, blunt)


def failing(prober: Prober, name: str, probe: Probe, oracle: str) -> Check | None:
    """The check of a point with a probe that fails, without a search for the entry; None if another probe agrees."""
    other = prober.measured(name, probe.entries)
    if other.excess <= 1 or other.kinked or probe.kinked:
        return None
    return _by_probes(name, oracle, Verdict.FAIL, Reason.PROBES_FAIL_UNSEARCHED.because())


def _by_probes(name: str, oracle: str, verdict: Verdict, found: Finding) -> Check:
    return Check.without_entry(name, oracle, Method.CENTRAL_DIFFERENCE, verdict, found, entries=1)


def _confirmed(prober: Prober, name: str, probe: Probe, oracle: str) -> Check | None:
    """The check of the entry with the largest error, if that entry is wrong."""
    entry = _entry(prober, name, probe)
    column = refine(Variable(prober.problem, name, prober.floor), entry)
    row, actual = _output(prober, name, entry, column)
    if bool(column.kink.any()) or not abs(actual - float(column.derivative[row])) <= float(
        column.tolerance[row]
    ) + prober.allowed(name):
        return _shown(prober, name, entry, row, actual, column, probe, oracle)
    return None


def _foreseen(probe: Probe, other: Probe) -> float:
    """The error that another probe would have at least, if the fault were a single entry or a scale."""
    error = abs(probe.actual - probe.expected)
    return min(error / 2, error / max(abs(probe.expected), 1e-300) * abs(other.expected))


def _entry(prober: Prober, name: str, probe: Probe) -> int:
    """Halve the range, each time going on with the half that has the larger error, down to one entry."""
    entries, t, error = probe.entries, probe.direction, probe.actual - probe.expected
    while len(t) > 1:
        left, right = split(slice(0, len(t)), 2)
        half = slice(entries.start, entries.start + left.stop)
        actual = float(prober.gradient[name][half] @ t[left])
        own = actual - prober.slope(name, half, t[left], probe.reach)
        # NaN counts as larger than every other error.
        if not abs(own) < abs(error - own):
            entries, t, error = half, t[left], own
        else:
            entries, t, error = slice(half.stop, entries.stop), t[right], error - own
    return entries.start


def _output(prober: Prober, name: str, entry: int, column: Refined) -> tuple[int, float]:
    """The output whose derivative by this entry has the largest error, and that derivative."""
    rows, v = slice(0, len(prober.v)), prober.v
    error = float(prober.gradient[name][entry] - v @ column.derivative)
    while rows.stop - rows.start > 1:
        half, other = split(rows, 2)
        masked = torch.zeros_like(v)
        masked[half] = v[half]
        own = float(prober.pull_back(masked)[name][entry] - masked @ column.derivative)
        rows, error = (half, own) if not abs(own) < abs(error - own) else (other, error - own)
    unit = torch.zeros_like(v)
    unit[rows] = 1
    return rows.start, float(prober.pull_back(unit)[name][entry])


def _shown(
    prober: Prober, name: str, entry: int, row: int, actual: float, column: Refined, probe: Probe, oracle: str
) -> Check:
    """The check of that one entry, with the mistake that the entries around it show."""
    expected, tolerance = float(column.derivative[row]), float(column.tolerance[row]) + prober.allowed(name)
    looked, off, mistake = 1, 0, None
    if column.kink.any():
        verdict, found = Verdict.INCONCLUSIVE, Reason.KINK.because()
    elif not math.isfinite(expected):
        verdict, found = Verdict.INCONCLUSIVE, edge(prober.problem, name, entry)
    else:
        verdict, found = Verdict.FAIL, Reason.WRONG_BY_PROBES.because()
        looked, off, mistake = _pattern(prober, name, entry, probe)
    return Check.from_number(
        name,
        oracle,
        Method.CENTRAL_DIFFERENCE,
        (actual, expected, tolerance),
        verdict,
        found,
        wrong=off,
        entries=looked,
        scale=float(column.derivative.abs().max()),
        detects=None,
        **prober.problem.entry_index(name, row, entry).fields(),
    ).looks_like(mistake)


def _pattern(prober: Prober, name: str, entry: int, probe: Probe) -> tuple[int, int, Finding | None]:
    """How many entries of the gradient of vᵀY were measured, how many are off, and the mistake that this may be."""
    shape = tuple(prober.problem.points[name].shape)
    entries = _around(prober, name, shape, entry)
    singles = prober.singles(name, entries, probe.reach)
    mistake = (
        _scaled(prober, name, singles, probe)
        or _tried(prober, name)
        or _moved(prober, name, shape, singles)
        or _conjugated(prober, name, shape, entries, singles)
        or _placed(name, shape, entries, singles)
    )
    return len(singles), sum(single.excess > 1 for single in singles), mistake


def _around(prober: Prober, name: str, shape: tuple[int, ...], entry: int) -> list[int]:
    """The entry, then some that share one of its indices, then some at random."""
    place = torch.stack(torch.unravel_index(torch.tensor(entry), shape))
    strides = torch.tensor([math.prod(shape[axis + 1 :]) for axis in range(len(shape))])
    generator = stream(prober.problem.seed, "entries around", name)
    found = [entry]
    for axis in (*range(len(shape)), None):
        drawn = torch.stack([torch.randint(0, size, (AROUND,), generator=generator) for size in shape], 1)
        if axis is not None:
            drawn[:, axis] = place[axis]
        found += (drawn @ strides).tolist()
    return list(dict.fromkeys(found))


def _scaled(prober: Prober, name: str, singles: list[Probe], probe: Probe) -> Finding | None:
    """A common factor of all entries. It is computed from the probe, a sum over entries, which is more accurate than
    single entries."""
    if probe.expected == 0:
        return None
    factor, unsure = probe.actual / probe.expected, probe.tolerance / abs(probe.expected)
    if any(abs(s.actual - factor * s.expected) > s.tolerance + unsure * abs(s.expected) for s in singles):
        return None
    if abs(factor - 1) <= unsure or distinct_from_one(factor) == "1":
        return None
    if factor == 0:
        return Reason.NO_GRADIENT.because()
    return named_factor(prober.problem, name, factor, ALIKE + unsure)


def _tried(prober: Prober, name: str) -> Finding | None:
    """A mistake that is found by trying it, if the gradient comes from a backward pass."""
    return experiment(prober.problem, name) if prober.closed is None else None


def _moved(prober: Prober, name: str, shape: tuple[int, ...], singles: list[Probe]) -> Finding | None:
    """Whether the entries are shifted by one along an axis. Entries at the edge are not compared."""
    one = torch.ones(1, dtype=torch.float64)
    for axis, size in enumerate(shape):
        stride = math.prod(shape[axis + 1 :])
        for by in (1, -1) if size > 2 else ():
            inner = [s for s in singles if 0 <= s.entries.start // stride % size - by < size]
            wrong = [s for s in inner if s.excess > 1]
            moved = (prober.at(name, slice(e := s.entries.start - by * stride, e + 1), one, s.reach) for s in inner)
            if wrong and all(
                abs(s.actual - m.expected) <= s.tolerance + m.tolerance for s, m in zip(inner, moved, strict=True)
            ):
                return Reason.SHIFTED.because(axis=axis, name=name)
    return None


def _conjugated(
    prober: Prober, name: str, shape: tuple[int, ...], entries: list[int], singles: list[Probe]
) -> Finding | None:
    """Whether the imaginary parts of the gradient have the wrong sign and its real parts are right."""
    if not prober.problem.is_complex(name):
        return None
    signs = [1 - 2 * (entry % shape[-1]) for entry in entries]
    fits = all(abs(s.actual - sign * s.expected) <= s.tolerance for s, sign in zip(singles, signs, strict=True))
    return Reason.NOT_CONJUGATED.because() if fits else None


def _placed(name: str, shape: tuple[int, ...], entries: list[int], singles: list[Probe]) -> Finding | None:
    """Where the wrong entries are, if that is simple to say. The first entry is the one that was found."""
    places = torch.stack(torch.unravel_index(torch.tensor(entries), shape), 1)
    wrong = torch.tensor([single.excess > 1 for single in singles])
    # A wrong gradient may be zero where the right one is, too.
    counts = wrong | torch.tensor([abs(single.expected) > single.tolerance for single in singles])
    # An entry is not known to be right if a fault of the same relative size would be within its tolerance.
    part = min(1.0, abs(singles[0].actual - singles[0].expected) / max(abs(singles[0].expected), 1e-300))
    seen = torch.tensor([part * abs(single.expected) > single.tolerance for single in singles])
    if bool((counts & ~wrong & ~seen).any()):
        return None
    places, wrong = places[counts], wrong[counts]
    for axis in range(len(shape)):
        same = places[:, axis] == places[0, axis]
        if int(same.sum()) > 1 and bool((wrong == same).all()):
            return one_slice(name, axis, int(places[0, axis]))
    return Reason.ONE_ENTRY.because(name=name, index=places[0].tolist()) if int(wrong.sum()) == 1 else None
