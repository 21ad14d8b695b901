"""PyTorch's own `gradcheck` and `gradgradcheck`, turned on the closed form as the backward of a `torch.autograd.Function`."""

from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.gradcheck import GradcheckError

from nets.calculus.function import closed_form
from nets.calculus.network import Network
from nets.verification.certificate import Check, Verdict
from nets.verification.problem import Problem

FIRST_ORDER_BUDGET = 3_000
SECOND_ORDER_BUDGET = 1_000
"""Numbers in parameters and inputs up to which every entry is checked; the slow mode's time grows with their first and second
power. Beyond, the fast mode checks one projection of them all, and the check says so."""


def check_function(network: Network, problem: Problem) -> list[Check]:
    """The closed form as autograd sees it: first order, and the gradient of the gradient."""
    names = list(problem.points)

    def function(*points: Tensor) -> Tensor:
        at = dict(zip(names, points, strict=True))
        return closed_form(network, at.pop("input"), at)

    # Two samples show whether a sum over the batch is right; more would only repeat it.
    points = tuple((point[:2] if name == "input" else point).clone().requires_grad_() for name, point in problem.points.items())
    size, outputs = sum(point.numel() for point in points), function(*points).numel()
    checks = []
    for tool, budget, entries in (
        (gradcheck, FIRST_ORDER_BUDGET, size * outputs),
        (gradgradcheck, SECOND_ORDER_BUDGET, (size + outputs) * size),
    ):
        slow = size <= budget
        try:
            # gradgradcheck draws its cotangents from the global generator, which verify puts back.
            tool(function, points, fast_mode=not slow)
            failure = ""
        except GradcheckError as error:
            failure = ": " + str(error).strip().splitlines()[0].rstrip(":,. ")
        scope = f"every one of {entries:,} entries" if slow else f"one projection of {entries:,} entries"
        verdict: Verdict = "fail" if failure else "pass"
        checks.append(Check.plain("all", "closed form", tool.__name__, entries if slow else 1, verdict, scope + failure))
    return checks
