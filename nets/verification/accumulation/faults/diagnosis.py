"""What a loop that accumulates a wrong gradient did instead, from the coefficients of the micro-batches in its
gradient."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import torch

from nets.records.loop_reason import LoopReason
from nets.records.reason import Finding
from nets.text import distinct_from_one
from nets.torch_internals import accumulation_hook_table
from nets.verification.accumulation.faults.clipping import clipped_each_time
from nets.verification.accumulation.faults.evidence import MATCH, Evidence, coefficients_text, fitted_coefficients
from nets.verification.accumulation.faults.patterns import leftover_patterns, patterns
from nets.verification.accumulation.window.weights import Gradients, flat, weighted_sum
from nets.verification.accumulation.window.window import Window
from nets.verification.problem.randomness import stream

HALF_PRECISION_EPS = 1e-4
"""A loss whose precision has an eps above this is in half precision."""

MOST_MISTAKES = 3
"""The most mistakes that are named where several explain the gradient."""

LEAST_LOSS_SCALE = 4
"""A constant factor of 2 to this power or more may be a loss scale."""


def diagnose_loop(evidence: Evidence) -> Finding:
    """The size of the error, and the mistake that explains it, if one is known."""
    if not evidence.finite:
        return _not_finite(evidence)
    off = LoopReason.OFF_BY.because(off=_distance(evidence.found, evidence.truth))
    if not any(gradient.any() for gradient in evidence.found.values()):
        return _and(off, _nothing_left(evidence.window))
    whole_batch, right = evidence.whole_batch, evidence.weights.values
    coupling = sample_coupling(evidence.window) if whole_batch.samples_interact else None
    right_sum = right is not None and evidence.matches(weighted_sum(right, evidence.parts))
    if right_sum and coupling is not None:
        return Finding(coupling.reason, f"{off.message}; {coupling.message}; the loop itself is right")
    # A loss in half precision may be off by so much that it cannot be decided whether it is a sum.
    half_precision = evidence.window.loss_eps > HALF_PRECISION_EPS
    if not evidence.weights.separable and coupling is None and not half_precision:
        return _and(off, LoopReason.NO_SUM_OVER_SAMPLES.because())
    if right_sum:
        return _and(off, LoopReason.IN_SINGLE_PRECISION.because())
    found = off if right is None else _explained(evidence, off)
    return found if coupling is None else Finding(found.reason, f"{found.message}; besides, {coupling.message}")


def matching_mistakes(evidence: Evidence) -> list[Finding]:
    """The mistakes whose coefficients, with the gradients of the micro-batches, give what the loop left: at most three,
    and none where these gradients or the right weights are not known."""
    if evidence.weights.values is None or not evidence.parts or not evidence.finite:
        return []
    right, sketch = list(evidence.weights.values), _Sketch(evidence)
    for candidates in (patterns(right), leftover_patterns(right)):
        found = [
            mistake
            for mistake, c in candidates
            if sketch.allows(c) and not _same(c, right) and evidence.matches(weighted_sum(c, evidence.parts))
        ]
        if found:
            return list(dict.fromkeys(found))[:MOST_MISTAKES]
    return []


def looks_like(mistakes: list[Finding]) -> str:
    """The mistakes in one phrase."""
    return f"it looks like {', or '.join(mistake.message for mistake in mistakes)}"


def sample_coupling(window: Window) -> Finding:
    """Why the output of a sample depends on the others in its batch, so that the whole batch cannot be divided into
    micro-batches."""
    return (LoopReason.BATCH_STATISTICS if window.has_batch_norm else LoopReason.SAMPLES_INTERACT).because()


def _explained(evidence: Evidence, off: Finding) -> Finding:
    mistakes = matching_mistakes(evidence)
    if mistakes:
        return Finding(mistakes[0].reason, f"{off.message}; {looks_like(mistakes)}")
    alike: tuple[Callable[[Evidence], Finding | None], ...] = (_clipped, _constant_factor)
    mistake = next(filter(None, (explain(evidence) for explain in alike)), None)
    if mistake is not None:
        return Finding(mistake.reason, f"{off.message}; {looks_like([mistake])}")
    others: tuple[Callable[[Evidence], Finding | None], ...] = (_other_weights, _parameters_missed, _other_sources)
    other = next(filter(None, (explain(evidence) for explain in others)), None)
    return off if other is None else _and(off, other)


def _and(off: Finding, found: Finding) -> Finding:
    return Finding(found.reason, f"{off.message}; {found.message}")


class _Sketch:
    """A few random sums of the entries. Comparing them rules out most candidates without computing every entry."""

    def __init__(self, evidence: Evidence) -> None:
        found = flat(evidence.found)
        signs = torch.randn(4, len(found), generator=stream(evidence.window.seed, "sketch"), dtype=found.dtype).sign()
        self._found = signs @ found
        self._parts = torch.stack([signs @ flat(part) for part in evidence.parts], 1)
        self._slack = sum(
            2 * gradient.numel() * max(MATCH * float(gradient.abs().max()), evidence.tolerance[name])
            for name, gradient in evidence.found.items()
        )

    def allows(self, coefficients: list[float]) -> bool:
        """Whether the sum with these coefficients may be what the loop left."""
        total = self._parts @ torch.tensor(coefficients, dtype=self._parts.dtype)
        return bool(((total - self._found).abs() <= self._slack).all())


def _same(one: list[float], other: list[float]) -> bool:
    return all(abs(a - b) <= MATCH * max(abs(a), abs(b)) for a, b in zip(one, other, strict=True))


def _nothing_left(window: Window) -> Finding:
    hooked = [name for name, p in window.module.named_parameters() if accumulation_hook_table(p)]
    if hooked:
        return LoopReason.TAKEN_BY_A_HOOK.because(parameter=hooked[0])
    return LoopReason.NOTHING_LEFT.because()


def _not_finite(evidence: Evidence) -> Finding:
    sizes = zip(evidence.window.sizes, evidence.weights.values or (), strict=False)
    without_weight = [number for number, (size, weight) in enumerate(sizes, start=1) if size and not weight]
    if not without_weight:
        return LoopReason.NOT_FINITE.because()
    return LoopReason.NOTHING_COUNTS.because(number=without_weight[0])


def _clipped(evidence: Evidence) -> Finding | None:
    return clipped_each_time(evidence.found, evidence.parts, evidence.weights.values or (), evidence.matches)


def _constant_factor(evidence: Evidence) -> Finding | None:
    """The right sum times a number."""
    right = weighted_sum(evidence.weights.values or (), evidence.parts)
    one, other = flat(evidence.found), flat(right)
    factor = float(one @ other / (other @ other)) if other.any() else 0.0
    if not evidence.matches({name: factor * gradient for name, gradient in right.items()}):
        return None
    exponent = torch.tensor(abs(factor)).log2()
    power_of_two = exponent >= LEAST_LOSS_SCALE and exponent == exponent.round()
    return (LoopReason.LOSS_SCALE_LEFT if power_of_two else LoopReason.CONSTANT_FACTOR).because(
        factor=distinct_from_one(factor)
    )


def _other_weights(evidence: Evidence) -> Finding | None:
    """Another sum of the micro-batches."""
    solution = fitted_coefficients(evidence.found, evidence.parts)
    if solution is None or not evidence.matches(weighted_sum(solution, evidence.parts)):
        return None
    right = coefficients_text(evidence.weights.values or ())
    return LoopReason.OTHER_WEIGHTS.because(found=coefficients_text(solution), right=right)


def _parameters_missed(evidence: Evidence) -> Finding | None:
    """Some parameters have no gradient, and should have one."""
    truth, tolerance = evidence.truth, evidence.tolerance
    missed = [n for n, g in evidence.found.items() if not g.any() and truth[n].abs().max() > tolerance[n]]
    return LoopReason.PARAMETERS_MISSED.because(names=", ".join(itertools.islice(missed, 4))) if missed else None


def _other_sources(evidence: Evidence) -> Finding | None:
    """Gradients that the loop leaves even where the loss is zero do not come from the loss."""
    left = evidence.whole_batch.with_zero_loss(evidence.loop)
    if left is None or not any(gradient.any() for gradient in left.values()):
        return None
    own = {name: gradient - left[name] for name, gradient in evidence.found.items()}
    found = LoopReason.OTHER_SOURCES.because()
    if replace(evidence, found=own).matches(evidence.truth):
        return found
    return Finding(found.reason, f"{found.message}, and what this window adds is wrong, too")


def _distance(found: Gradients, truth: Gradients) -> str:
    """‖found − truth‖ / ‖truth‖ in per cent."""
    share = 100 * float((flat(found) - flat(truth)).norm() / flat(truth).norm())
    return f"{share:,.0f} %" if share >= 10 else f"{share:.2g} %"
