"""What a wrong Jacobian looks like: a guess at the cause, where the pattern is plain."""

import torch
from torch import Tensor

from nets.verification.problem import Problem

ALIKE = 1e-6
"""Two Jacobians are alike when they differ by less than this part of the larger one; a pattern is then no accident."""


def cause(problem: Problem, name: str, actual: Tensor, expected: Tensor, wrong: Tensor) -> str:
    """In a few words, what was done instead of the right thing; empty where no pattern fits.

    Args:
        problem: the function.
        name: which of its points.
        actual: the wrong Jacobian, shape (M, P).
        expected: the right one.
        wrong: where they differ by more than can be explained, shape (M, P).
    """
    if not torch.isfinite(actual).all():
        return ""
    for guess in (_zero, _factor, _upstream_ignored, _transposed, _samples, _one_row, _side):
        found = guess(problem, name, actual, expected, wrong)
        if found:
            return found
    return ""


def _alike(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= ALIKE * torch.maximum(a.abs().max(), b.abs().max()))


def _zero(problem: Problem, name: str, actual: Tensor, expected: Tensor, wrong: Tensor) -> str:
    return "zero: no gradient arrives" if not actual.any() and expected.any() else ""


def _factor(problem: Problem, name: str, actual: Tensor, expected: Tensor, wrong: Tensor) -> str:
    factor = float((actual * expected).sum() / expected.square().sum().clamp(min=1e-300))
    if factor == 0 or not _alike(actual, factor * expected):
        return ""
    if abs(factor + 1) < ALIKE:
        return "wrong sign"
    if problem.samples > 1 and abs(factor * problem.samples - 1) < ALIKE:
        return f"averaged over the batch: a constant factor 1/{problem.samples}, the number of samples"
    return f"a constant factor {factor:.6g}"


def _upstream_ignored(problem: Problem, name: str, actual: Tensor, expected: Tensor, wrong: Tensor) -> str:
    """A backward that takes the gradient that reaches it for a constant gives the same for every output."""
    if len(actual) > 1 and _alike(actual, actual[:1].expand_as(actual)) and not _alike(expected, expected[:1].expand_as(expected)):
        return "upstream gradient ignored: it is the same whichever output is asked for"
    return ""


def _transposed(problem: Problem, name: str, actual: Tensor, expected: Tensor, wrong: Tensor) -> str:
    shape = problem.points[name].shape
    if len(shape) != 2 or min(shape) < 2:
        return ""
    turned = expected.reshape(-1, *shape).mT.reshape(expected.shape)
    return "transposed" if _alike(actual, turned) else ""


def _samples(problem: Problem, name: str, actual: Tensor, expected: Tensor, wrong: Tensor) -> str:
    """Some samples count and others do not, in a sum over all of them, which the gradient by an input is not."""
    rows = problem.row_samples()
    if rows is None or problem.samples < 2 or name.startswith("input"):
        return ""
    bad = [n for n in range(problem.samples) if wrong[rows == n].any()]
    counted = [n for n in range(problem.samples) if n not in bad and expected[rows == n].any()]
    if bad and counted and not any(actual[rows == n][wrong[rows == n]].any() for n in bad):
        return f"not summed over the batch: sample{'s' * (len(bad) > 1)} {_few(bad)} left out"
    return ""


def _one_row(problem: Problem, name: str, actual: Tensor, expected: Tensor, wrong: Tensor) -> str:
    shape = problem.points[name].shape
    bad = wrong.any(0).reshape(shape).nonzero()
    if len(bad) and wrong[:, expected.any(0)].any() and bool(wrong.any(0).sum() == 1) and problem.points[name].numel() > 1:
        return f"one entry of {name}: {_place(bad[0].tolist())}"
    for axis, size in enumerate(shape):
        lines = bad[:, axis].unique()
        if size > 1 and len(lines) == 1:
            kind = {0: "row", 1: "column"}.get(axis, f"slice along axis {axis}")
            return f"one {kind} of {name}: {int(lines[0])}"
    return ""


def _side(problem: Problem, name: str, actual: Tensor, expected: Tensor, wrong: Tensor) -> str:
    """Wrong for the small numbers and right for the large, or the other way about."""
    values, bad = problem.points[name].reshape(-1), wrong.any(0)
    good = ~bad & expected.any(0)
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
