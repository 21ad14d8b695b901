"""Checks that answer yes or no, as the modules of this package make them."""

from typing import NamedTuple

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.verification.attempt import Unavailable
from nets.verification.compare.comparison import POWER
from nets.verification.problem.pytree import largest


class Preconditions(NamedTuple):
    """Checks that do not pass.

    Attributes:
        fatal: checks that end the verification; at most one.
        deferred: checks that are reported only if all others pass, since others are more specific.
    """

    fatal: list[Check]
    deferred: list[Check]


def judged(parameter: str, verdict: Verdict, found: Finding) -> Check:
    """A check of the backward pass."""
    return Check.without_entry(parameter, Method.REVERSE_MODE, Method.ITSELF, verdict, found)


def failed(parameter: str, found: Finding) -> Check:
    """A failed check of the backward pass."""
    return judged(parameter, Verdict.FAIL, found)


def raised(failure: Unavailable) -> Check:
    """The failed check of a backward pass that raises an error."""
    return failed("all", Reason.BACKWARD_RAISES.because(error=failure.why))


def failed_output(found: Finding) -> Check:
    """A failed check of the output itself."""
    return Check.without_entry("output", Method.FORWARD_PASS, Method.ITSELF, Verdict.FAIL, found)


def differs(one: Tensor, other: Tensor) -> bool:
    """Whether two gradients differ by at least the smallest fault that must be seen.

    Smaller differences may be rounding or underflow, if a module computes in another order.
    """
    return largest(one - other) > max(POWER * largest(other), torch.finfo(other.dtype).smallest_normal)
