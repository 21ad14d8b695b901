"""What a wrong Jacobian looks like: a guess at the cause, where the pattern is plain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nets.verification.problem import Problem

ALIKE = 1e-6
"""Two Jacobians are alike when they differ by less than this part of the larger one; a pattern is then no accident."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A Jacobian that is wrong.

    Attributes:
        problem: the function.
        name: which of its points.
        actual: the wrong Jacobian, shape (M, P).
        expected: the right one.
        wrong: where they differ by more than can be explained, shape (M, P).
        tolerance: what can be explained, shape (M, P).
    """

    problem: Problem
    name: str
    actual: Tensor
    expected: Tensor
    wrong: Tensor
    tolerance: Tensor

    def like(self, other: Tensor) -> bool:
        """Whether what is there is this, to a millionth of the largest entry or within the tolerance."""
        slack = ALIKE * torch.maximum(self.actual.abs().max(), other.abs().max())
        return bool(((self.actual - other).abs() <= self.tolerance.clamp(min=float(slack))).all())


def cause(fault: Fault) -> str:
    """In a few words, what was done instead of the right thing; empty where no pattern fits."""
    if not torch.isfinite(fault.actual).all():
        return ""
    for guess in (_known_to_the_problem, _zero, _factor, _upstream_ignored, _transposed, _one_row, _samples, _side):
        found = guess(fault)
        if found:
            return found
    return ""


def _known_to_the_problem(fault: Fault) -> str:
    return fault.problem.explained(fault.name, fault.actual, fault.expected)


def _zero(fault: Fault) -> str:
    return "zero: no gradient arrives" if not fault.actual.any() and fault.expected.any() else ""


def _factor(fault: Fault) -> str:
    factor = _ratio(fault, fault.wrong)
    off, slack = (fault.actual - factor * fault.expected).abs(), min(ALIKE, abs(factor - 1) / 100)
    # Within the tolerance also where nothing was seen to be wrong, so it is not a few entries alone that are off.
    if factor == 0 or bool((off > fault.tolerance + slack * (factor * fault.expected).abs()).any()):
        return ""
    # The factor is known as well as the entry that is known best.
    unsure = ALIKE + float((fault.tolerance / fault.expected.abs())[fault.wrong].min())
    if abs(factor + 1) < unsure:
        return "wrong sign"
    samples = fault.problem.samples
    if samples > 1 and abs(factor * samples - 1) < unsure:
        if samples == 2:
            # A half may as well be a half.
            return "a constant factor 1/2 (as if averaged over the batch of 2)"
        return f"averaged over the batch: a constant factor 1/{samples}, the number of samples"
    return f"a constant factor {digits(factor)}"


def digits(factor: float) -> str:
    """A factor with six digits, or with as many as it takes to tell it from 1."""
    return next((text for text in (f"{factor:.{n}g}" for n in range(6, 17)) if float(text) != 1), "1")


def _ratio(fault: Fault, where: Tensor) -> float:
    """By how much all of these entries were multiplied, in the sense of least squares."""
    expected = fault.expected[where]
    return float((fault.actual[where] * expected).sum() / expected.square().sum().clamp(min=1e-300))


def _upstream_ignored(fault: Fault) -> str:
    """A backward that takes the gradient that reaches it for a constant gives the same for every output."""
    same = len(fault.actual) > 1 and fault.like(fault.actual[:1].expand_as(fault.actual))
    if same and not bool(((fault.expected - fault.expected[:1]).abs() <= fault.tolerance).all()):
        return "upstream gradient ignored: it is the same whichever output is asked for"
    return ""


def _transposed(fault: Fault) -> str:
    shape = fault.problem.points[fault.name].shape
    if len(shape) != 2 or min(shape) < 2:
        return ""
    turned = fault.expected.reshape(-1, *shape).mT.reshape(fault.expected.shape)
    return "transposed" if fault.like(turned) else ""


def _one_row(fault: Fault) -> str:
    shape, wrong = fault.problem.points[fault.name].shape, fault.wrong
    bad = wrong.any(0).reshape(shape).nonzero()
    if len(bad) and wrong[:, fault.expected.any(0)].any() and bool(wrong.any(0).sum() == 1) and shape.numel() > 1:
        return f"one entry of {fault.name}: {_place(bad[0].tolist())}"
    for axis, size in enumerate(shape):
        lines = bad[:, axis].unique()
        if size > 1 and len(lines) == 1:
            kind = {0: "row", 1: "column"}.get(axis, f"slice along axis {axis}")
            return f"one {kind} of {fault.name}: {int(lines[0])}"
    return ""


def _samples(fault: Fault) -> str:
    """Some samples count and others do not, in a sum over all of them, which the gradient by an input is not."""
    problem = fault.problem
    rows = problem.row_samples()
    if rows is None or problem.samples < 2 or fault.name.startswith("input"):
        return ""
    bad = [n for n in range(problem.samples) if fault.wrong[rows == n].any()]
    counted = [n for n in range(problem.samples) if n not in bad and fault.expected[rows == n].any()]
    if bad and counted and not any(fault.actual[rows == n][fault.wrong[rows == n]].any() for n in bad):
        return f"not summed over the batch: sample{'s' * (len(bad) > 1)} {_few(bad)} left out"
    return ""


def _side(fault: Fault) -> str:
    """Wrong for the small numbers and right for the large, or the other way about."""
    name, values, bad = fault.name, fault.problem.points[fault.name].reshape(-1), fault.wrong.any(0)
    good = ~bad & fault.expected.any(0)
    if int(bad.sum()) < 2 or int(good.sum()) < 2:
        return ""
    if values[bad].max() < values[good].min():
        return f"below the kink: wrong where {name} is under {float(values[good].min()):.3g}, right above"
    if values[bad].min() > values[good].max():
        return f"above the kink: wrong where {name} is over {float(values[good].max()):.3g}, right below"
    return ""


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:4])) + (", …" if len(numbers) > 4 else "")


def _place(index: list[int]) -> str:
    return "[" + ", ".join(map(str, index)) + "]"
