"""How probes cover a point that is too large to check every entry, and with which probability they would have seen a
fault."""

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.text import rounded_up
from nets.verification.compare.comparison import POWER
from nets.verification.compare.zeros import bound_of_zero, is_constant
from nets.verification.derivations.variable import Variable
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.probing.bisection import failing, located
from nets.verification.probing.probe import Probe, split
from nets.verification.probing.prober import Prober
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

BLOCKS = 4
"""Blocks of rows that each point is divided into, each probed along a direction of its own."""

ONE_BLOCK = 1_024
"""Numbers in a point up to which it is one block."""

SEARCHES = 1
"""Points in which the wrong entry is searched for; for the others, the check says that they are wrong."""

ENTRIES = 2
"""Single entries that are probed as well, each in a part of its own."""


def check_by_probes(prober: Prober, name: str, oracle: str) -> Check:
    """The check of one point; its message says what it would have seen."""
    point = prober.problem.points[name]
    width = point[0].numel() if point.ndim else 1
    everything = slice(0, point.numel())
    many = point.numel() > ONE_BLOCK
    blocks = split(everything, min(BLOCKS, point.numel() // width), width) if many else []
    generator = stream(prober.problem.seed, "single entries", name)
    chosen = [
        int(torch.randint(part.start, part.stop, (), generator=generator))
        for part in split(everything, min(ENTRIES, point.numel()))
    ]
    parts = [*blocks, *(slice(entry, entry + 1) for entry in chosen)]
    whole, probes = prober.look(name, [(part, prober.weights(part.stop - part.start)) for part in parts])
    # If there is only one block, the probe of the whole point is the probe of that block.
    probes = probes if many and probes else [whole, *probes]
    worst = max([whole, *probes], key=lambda probe: probe.excess)
    if worst.excess > 1:
        # If one submodule is wrong, so is the gradient of everything before it. A search in each would find the same
        # fault.
        fault = failing(prober, name, worst, oracle) if prober.searched >= SEARCHES else None
        if fault is None:
            prober.searched += 1
            fault = located(prober, name, worst, oracle)
        if fault is not None:
            return fault
    check = _held(
        prober, name, oracle, whole, [p for p in probes if p.entries.stop - p.entries.start > 1] or probes, worst
    )
    kinked = any(probe.kinked for probe in [whole, *probes])
    return check.explained(Verdict.INCONCLUSIVE, Reason.KINK.because()) if kinked else check


def _held(prober: Prober, name: str, oracle: str, whole: Probe, probes: list[Probe], worst: Probe) -> Check:
    """The check of a point at which neither a fault nor a kink was found."""
    # Only the probe of the whole has an error bar of its own, which holds in the presence of a fault as well.
    detects = whole.bound / max(abs(whole.actual), 1e-300)
    # An error of one entry changes a probe by at least half of that error, since every weight is at least 1/2.
    single = 2 * whole.bound / max(largest(prober.gradient[name]), 1e-300)
    # The declared tolerance does not make a probe less sharp.
    sharp = (whole.bound - 2 * prober.allowed_along(name, whole.direction)) / max(abs(whole.actual), 1e-300)
    constant = sharp > POWER and is_constant(Variable(prober.problem, name, prober.floor))
    bound = _bound_of_zero(prober, name, [whole, *probes]) if sharp > POWER and not constant else None
    if constant:
        found = Reason.ZERO_EVERYWHERE.because(what="output")
    elif bound is not None:
        found = Reason.ZERO_HERE.because(bound=rounded_up(bound))
    elif sharp > POWER:
        found = Reason.TOO_SMALL.because(fault=f"a fault below {detects:.1%}")
    else:
        found = _power(prober, name, probes, detects)
    zero = constant or bound is not None
    return Check.from_number(
        name,
        oracle,
        Method.CENTRAL_DIFFERENCE,
        (worst.actual, worst.expected, worst.tolerance),
        Verdict.PASS if zero or sharp <= POWER else Verdict.INCONCLUSIVE,
        found,
        wrong=0,
        entries=prober.problem.points[name].numel(),
        worst_index=(),
        detects=None if zero else detects,
        detects_entry=None if zero else single,
        bound=bound,
    )


def _bound_of_zero(prober: Prober, name: str, probes: list[Probe]) -> float | None:
    """The absolute bound on the entries of a gradient of vᵀY that is zero up to its rounding.

    None if the bound is not small beside the slopes that Y has nearby. A probe shows at least half of the error of an
    entry, since every weight is at least 1/2.
    """
    if largest(prober.gradient[name]) > ROUNDING_SAFETY * largest(prober.rounding[name]):
        return None
    bound = torch.tensor([2 * max(probe.bound for probe in probes)])
    return bound_of_zero(prober.problem, name, torch.zeros(1), bound)


def _power(prober: Prober, name: str, probes: list[Probe], detects: float) -> Finding:
    """With what probability these probes would have seen one entry zeroed, one row zeroed or flipped, or a wrong scale.

    An entry e that is wrong by its own size changes the probe by |g_e t_e|. A row r changes it by a random sum of the
    size ‖g_r t_r‖, which lies within the tolerance with a probability of about tolerance / ‖g_r t_r‖. Averaged over
    entries and rows.
    """
    point = prober.problem.points[name]
    width = point[0].numel() if point.ndim else 1
    entries = rows = 0.0
    for probe in probes:
        moved = (prober.gradient[name][probe.entries] * probe.direction).abs_()
        entries += int((moved > probe.bound).count_nonzero()) / point.numel()
        sizes = torch.linalg.vector_norm(moved.reshape(-1, width), dim=1)
        hidden = (probe.bound / sizes.clamp(min=1e-300)).clamp(max=1.0)
        rows += float((1 - hidden).sum()) * width / point.numel()
    return Reason.PROBED.because(entries=entries, rows=rows, scale=rounded_up(detects))


def check_stated(prober: Prober, name: str, oracle: str, jacobian: Tensor) -> Check:
    """Compare a Jacobian J of the caller, shape (M, P), with the gradient of vᵀY: every entry of vᵀJ."""
    noise = max(float(prober.rounding[name].abs().max()), float(prober.gradient[name].abs().max()) * 2.0**-53)
    off = int(((prober.v @ jacobian - prober.gradient[name]).abs() > ROUNDING_SAFETY * noise).sum())
    return _entries_off(name, oracle, Method.STATED_CLOSED_FORM, off, jacobian.shape[1])


def check_closed_form(prober: Prober, name: str) -> Check:
    """Compare the closed form with reverse mode: every entry of the gradient of vᵀY."""
    gradient, backward = prober.gradient[name], prober.backward[name]
    noise = max(float(prober.rounding[name].abs().max()), float(backward.abs().max()) * 2.0**-53)
    off = int(((gradient - backward).abs() > ROUNDING_SAFETY * noise).sum())
    return _entries_off(name, Method.CLOSED_FORM, Method.REVERSE_MODE, off, len(gradient))


def _entries_off(name: str, oracle: str, against: str, off: int, entries: int) -> Check:
    verdict, found = Verdict.FAIL if off else Verdict.PASS, Reason.ENTRIES_OFF.because(off=off, entries=entries)
    return Check.without_entry(name, oracle, against, verdict, found, entries=entries)
