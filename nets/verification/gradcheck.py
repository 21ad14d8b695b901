"""PyTorch's own `gradcheck` and `gradgradcheck`, turned on the closed form as the backward of a `torch.autograd.Function`."""

import warnings

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.gradcheck import GradcheckError

from nets.calculus.function import closed_form
from nets.calculus.network import Network
from nets.verification.certificate import Check
from nets.verification.problem import Problem

FIRST_ORDER_BUDGET = 3_000
SECOND_ORDER_BUDGET = 1_000
"""Numbers in parameters and inputs up to which every entry is checked; the slow mode's time grows with their first and second
power. Beyond, the fast mode checks one projection of them all, and the check says so."""


def check_function(problem: Problem) -> list[Check]:
    """The closed form as autograd sees it: first order, and the gradient of the gradient."""
    assert isinstance(problem.module, Network)
    network = problem.module
    names = list(problem.points)

    def function(*points: Tensor) -> Tensor:
        at = dict(zip(names, points, strict=True))
        return closed_form(network, at.pop("input"), at)

    # Two samples show whether a sum over the batch is right; more would only repeat it.
    points = tuple(
        (point[:2] if name == "input" else point).clone().requires_grad_() for name, point in problem.points.items()
    )
    size = sum(point.numel() for point in points)
    outputs = function(*points).numel()
    checks = []
    for tool, budget, entries in (
        (gradcheck, FIRST_ORDER_BUDGET, size * outputs),
        (gradgradcheck, SECOND_ORDER_BUDGET, (size + outputs) * size),
    ):
        slow = size <= budget
        try:
            with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
                # gradgradcheck draws its cotangents from the global generator.
                torch.manual_seed(0)
                tool(function, points, fast_mode=not slow)
            failure = ""
        except GradcheckError as error:
            failure = str(error).strip().splitlines()[0].rstrip(":,. ")
        scope = f"every one of {entries:,} entries" if slow else f"one projection of {entries:,} entries"
        checks.append(
            Check(
                parameter="all",
                oracle="closed form",
                against=tool.__name__,
                entries=entries if slow else 1,
                wrong=0,
                max_abs_error=None,
                max_rel_error=None,
                worst_index=None,
                expected=None,
                actual=None,
                tolerance=None,
                detects=None,
                verdict="fail" if failure else "pass",
                reason=f"{scope}: {failure}" if failure else scope,
            )
        )
    return checks
