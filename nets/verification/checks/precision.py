"""A module in its own precision: its backward pass is compared with that of its copy in float64."""

import math
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import precision_name, rounded_up
from nets.verification.checks.aggregates import Aggregates
from nets.verification.checks.preconditions import check_preconditions
from nets.verification.compare.comparison import POWER, compare
from nets.verification.compare.derivation import Derivation
from nets.verification.derivations.reverse_mode import reverse_mode
from nets.verification.noise.low_precision import Noisy, coarsest, output_noise
from nets.verification.noise.rounding import unit_roundoff
from nets.verification.noise.row_noise import gradient_floor
from nets.verification.problem.graph import rows_of
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

ENTRY_SAFETY = 8.0
"""The largest error of an entry, in units of rounding noise, which stochastic rounding in the module's own precision
measures."""

SUSPECTS = 16
"""The most outputs with a suspicious entry whose noise is measured again."""

ROW_RUNS = 16
"""Runs with stochastic rounding in which it is measured."""

SCALE = 0.1
"""A check must be able to see a wrong scale of this size for a verdict, in any precision."""

SHARE = 0.1
"""The largest part of the sum of squares of a gradient that may lie in rows whose zeroing would not be noticed."""


def check_as_is(module: nn.Module, inputs: tuple[Any, ...], double: Problem) -> tuple[list[Check], list[str]]:
    """Compare ∂Y/∂p of the module in its own precision with ∂Y/∂p of `double`, its copy in float64.

    They are compared entry by entry, and in sums over whole parameters, rows and columns, which have more significant
    digits.

    There is a verdict if the check would have seen a wrong scale of 128 unit roundoffs, limited to the range from a
    thousandth to a tenth; and if it would have seen a zeroed row, except in rows that together have less than a tenth
    of the gradient. The other checks prove the formula; these check its evaluation in this precision. Noise comes from
    the float64 copy, with results moved by the roundoff of the coarsest type in the module's forward: a backward that
    loses more digits than that must not widen its own tolerance. The module itself is measured only if its output is
    noisier than that, as under autocast.

    Returns:
        A check for each point, and a note of what the sums would have shown.
    """
    low = Problem(module, inputs, dtype=None, seed=double.seed)
    failed = check_preconditions(low).fatal
    if failed:
        return failed, []
    kept = coarsest(low)
    precision, eps = precision_name(kept), torch.finfo(kept).eps
    off = (low.y - double.y).abs() > ENTRY_SAFETY * output_noise(double, kept, double.seed)
    if off.any() and low.random:
        names = (f"{Method.FORWARD_PASS} in {precision}", f"{Method.FORWARD_PASS} in float64")
        found = Reason.OTHER_RANDOM_NUMBERS.because(precision=precision)
        return [Check.without_entry("output", *names, Verdict.INCONCLUSIVE, found, entries=len(off))], []
    noisy = Noisy(low, None) if off.any() else Noisy(double, kept)
    aggregates, entries = Aggregates(low, double, noisy, kept), _Entries(low, double, noisy, eps)
    checks = [_judged(entries.check(name, aggregates), aggregates, eps) for name in low.points]
    return checks, _notes(checks, aggregates, precision)


class _Entries:
    """Every entry of ∂Y/∂p, with the largest change that rounding makes in its row as tolerance."""

    def __init__(self, low: Problem, double: Problem, noisy: Noisy, eps: float) -> None:
        seed = double.seed
        self._low, self._noisy, self._generator = low, noisy, stream(seed, "noise of entries in low precision")
        self._actual, self._expected = reverse_mode(low), reverse_mode(double)
        self._tolerance = gradient_floor(double, self._expected, seed, eps)
        if noisy.problem is low:
            own = gradient_floor(low, self._actual, seed)
            self._tolerance = {
                name: torch.maximum(noise, own[name].double()) for name, noise in self._tolerance.items()
            }
        self._actual = {name: jacobian.double() for name, jacobian in self._actual.items()}
        self._tolerance = {name: ENTRY_SAFETY * noise for name, noise in self._tolerance.items()}
        if any(len(self._off(name)) for name in self._actual):
            self._measure_again()

    def check(self, name: str, aggregates: Aggregates) -> Check:
        """The check of ∂Y/∂name by its entries, and by those of a slice whose sum is off."""
        check = self._compared(name, self._tolerance[name], aggregates.zero(name))
        wrong = aggregates.wrong(name)
        if check.verdict != Verdict.FAIL and wrong is not None:
            # If a sum is wrong, so are some of its entries: those with an error above the relative tolerance of the
            # sum.
            inside = wrong.slice.mask(tuple(self._low.points[name].shape))
            allowed = wrong.relative * float(self._expected[name][:, inside].square().mean().sqrt())
            tolerance = torch.where(inside, self._tolerance[name].clamp(max=allowed), self._tolerance[name])
            check = self._compared(name, tolerance, False)
            check = check.explained(Verdict.FAIL, Reason.WRONG_SUM.because(what=wrong.words))
        unit, scale = unit_roundoff(self._low.points[name].dtype), float(self._expected[name].abs().max())
        place = 2 * unit * 2.0 ** math.floor(math.log2(scale)) if scale > 0 else math.inf
        return replace(check, ulp=(check.max_abs_error or 0.0) / place)

    def _compared(self, name: str, tolerance: Tensor, zero: bool) -> Check:
        precision = precision_name(self._low.points[name].dtype)
        ours = Derivation(f"{Method.REVERSE_MODE} in {precision}", self._actual[name], tolerance)
        reference = Derivation(Method.REVERSE_IN_FLOAT64, self._expected[name], tolerance)
        check = compare(self._low, name, ours, reference, constant=zero, power=math.inf)
        return replace(check, precision=precision)

    def _off(self, name: str) -> Tensor:
        """The outputs with a wrong entry, the worst first."""
        excess = ((self._actual[name] - self._expected[name]).abs() / self._tolerance[name]).nan_to_num(nan=0.0).amax(1)
        return excess.argsort(descending=True)[: int((excess > 1).sum())]

    def _measure_again(self) -> None:
        """Widen the tolerance of points with wrong rows to what more runs change in the worst of these rows.

        Rounding may switch a ReLU in some runs only, and not in the first ones.
        """
        off = {name: self._off(name) for name in self._actual}
        ranks = zip_longest(*(rows.tolist() for rows in off.values()))
        suspects = list(dict.fromkeys(row for rank in ranks for row in rank if row is not None))[:SUSPECTS]
        problem = self._noisy.problem
        still = self._expected if self._noisy.dtype is not None else self._actual
        for _ in range(ROW_RUNS):
            with self._noisy.rounding(self._generator):
                moved = list(rows_of(problem.record, suspects))
            for name in (name for name, rows in off.items() if len(rows)):
                found = torch.stack([gradients[name].reshape(-1).double() for gradients in moved])
                change = (found - still[name][suspects]).abs().nan_to_num()
                self._tolerance[name].clamp_(min=ENTRY_SAFETY * float(change.max()))


def _judged(check: Check, aggregates: Aggregates, eps: float) -> Check:
    """The check with what the sums would have seen, and inconclusive if that is too little."""
    name = check.parameter
    if check.verdict == Verdict.FAIL or aggregates.zero(name):
        return check
    if not aggregates.finite(name):
        what = "the gradient of a random sum of the outputs is out of range"
        return check.explained(Verdict.INCONCLUSIVE, Reason.OVERFLOW.because(what=what))
    power, required = aggregates.power(name), min(SCALE, max(POWER, 64 * eps))
    check = replace(check, detects=power.scale)
    if power.scale > required:
        return check.explained(Verdict.INCONCLUSIVE, Reason.SCALE_UNSEEN.because(scale=rounded_up(power.scale)))
    if power.zero or power.share > SHARE:
        found = Reason.ROWS_UNSEEN.because(count=power.unknown, share=rounded_up(100 * power.share))
        return check.explained(Verdict.INCONCLUSIVE, found)
    return check


def _notes(checks: list[Check], aggregates: Aggregates, precision: str) -> list[str]:
    """What would have been seen in single rows."""
    powers = [aggregates.power(check.parameter) for check in checks if check.verdict == Verdict.PASS]
    seen = [power.slice for power in powers if math.isfinite(power.slice)]
    if not seen:
        return []
    unknown, share = sum(power.unknown for power in powers), max(power.share for power in powers)
    but = f", but for {unknown} that hold {rounded_up(100 * share)} % of their gradient at most" if unknown else ""
    return [f"in {precision}, a row or column whose scale is off by {rounded_up(max(seen))} would have been seen{but}"]
