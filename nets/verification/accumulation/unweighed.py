"""A loop whose micro-batches cannot be put together, nor what the module returns for them: no loss tells their weights."""

from nets.errors import InputError
from nets.records.certificate import Certificate
from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.verification.accumulation.faults import ALIKE, as_sum, listed
from nets.verification.accumulation.reference import Reference
from nets.verification.accumulation.weighing import flat, weighted
from nets.verification.accumulation.window import Closure
from nets.verification.problem.pytree import largest


def without_weights(reference: Reference, closure: Closure | None) -> Certificate:
    """What can be told without weights: whether the loop leaves a sum of the gradients of all micro-batches.

    Raises:
        InputError: without a loop, which leaves nothing to check.
    """
    window = reference.window
    why = f"the micro-batches cannot be put together ({reference.apart})"
    if closure is None:
        raise InputError(f"{why}; expected a closure to check, or outputs and targets that go together along their first axis.")
    parts, found = window.parts(), window.run(closure)
    if window.moved():
        what = f"the closure moved {window.moved()}; expected one that leaves its gradient in .grad and makes no step"
        return _all(Verdict.FAIL, Reason.STATEFUL.because(what=what))
    unknown = f"{why}, and no loss over all of their outputs tells what each of them weighs"
    coefficients = as_sum(found, parts)
    if coefficients is None:
        return _all(Verdict.INCONCLUSIVE, Reason.WEIGHTS_UNKNOWN.because(why=unknown))
    if largest(flat(weighted(coefficients, parts)) - flat(found)) > ALIKE * largest(flat(found)):
        what = "what the loop leaves is no sum of the gradients of its micro-batches, whatever they weigh"
        return _all(Verdict.FAIL, Finding(Reason.WRONG_ACCUMULATION, f"{Reason.WRONG_ACCUMULATION}: {what}"))
    counted = [any(gradient.any() for gradient in part.values()) for part in parts]
    out = [m for m, (c, counts) in enumerate(zip(coefficients, counted, strict=True), start=1) if counts and not c]
    if out:
        what = f"micro-batch {out[0]} left out"
        return _all(Verdict.FAIL, Finding(Reason.WRONG_ACCUMULATION, f"{Reason.WRONG_ACCUMULATION}: {what}"))
    weights = f"in this loop they weigh {listed(coefficients)}"
    return _all(Verdict.INCONCLUSIVE, Reason.WEIGHTS_UNKNOWN.because(why=f"{unknown}; {weights}"))


def _all(verdict: Verdict, found: Finding) -> Certificate:
    return Certificate((Check.without_entry("all", Method.ACCUMULATED_GRADIENT, Method.MICRO_BATCHES, verdict, found),))
