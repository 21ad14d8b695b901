"""Two derivations of one Jacobian, entry against entry."""

import torch
from torch import Tensor

from nets.verification.certificate import Check, Verdict
from nets.verification.problem import Problem

POWER = 1e-3
"""A check is worth a verdict only if it would have seen a gradient that is a thousandth off."""


def compare(
    problem: Problem,
    name: str,
    actual: tuple[str, Tensor],
    expected: tuple[str, Tensor],
    tolerance: Tensor,
    constant: bool = False,
) -> Check:
    """Hold the derivation `actual` against `expected`; both are (what it is called, ∂Y/∂name of shape (M, *point.shape)).

    Args:
        tolerance: the error that is explained, one number or one per entry.
        constant: whether Y is known not to depend on `name`, so that a gradient below the tolerance is the right one.
    """
    oracle, a = actual
    against, e = expected
    a, e = a.reshape(len(a), -1), e.reshape(len(e), -1)
    tolerance = tolerance.reshape(len(e), -1) if tolerance.ndim else tolerance.expand_as(e)
    tolerance = tolerance.expand_as(e).clamp(min=torch.finfo(e.dtype).tiny)
    error = (a - e).abs()
    # An entry that is not a number exceeds every tolerance.
    excess = torch.nan_to_num(error / tolerance, nan=torch.inf)
    wrong = int((excess > 1).sum())
    row, column = divmod(int(excess.argmax()), e.shape[1])
    scale = float(e.abs().max())
    detects = float((tolerance / e.abs()).min()) if scale > 0 else float("inf")
    verdict, reason = _judge(wrong, detects, constant)
    return Check(
        parameter=name,
        oracle=oracle,
        against=against,
        entries=e.numel(),
        wrong=wrong,
        max_abs_error=float(error.max()),
        max_rel_error=float(error.max()) / scale if scale > 0 else float("inf") if wrong else 0.0,
        worst_index=problem.index(name, row, column),
        expected=float(e[row, column]),
        actual=float(a[row, column]),
        tolerance=float(tolerance[row, column]),
        detects=detects,
        verdict=verdict,
        reason=reason,
    )


def _judge(wrong: int, detects: float, constant: bool) -> tuple[Verdict, str]:
    if wrong:
        return "fail", "wrong derivative"
    if constant:
        return "pass", "zero up to rounding: the output does not depend on it"
    if detects > POWER:
        return "inconclusive", f"the gradient is too small here to see a fault below {detects:.1%}"
    return "pass", ""
