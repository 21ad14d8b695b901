"""A loop whose micro-batches cannot be put together, nor what the module returns for them: no loss tells their weights."""

from nets.errors import InputError
from nets.records.certificate import Certificate, Check, Verdict
from nets.verification.accumulation.faults import ALIKE, as_sum, listed
from nets.verification.accumulation.reference import Reference
from nets.verification.accumulation.weighing import flat, weighted
from nets.verification.accumulation.window import Closure
from nets.verification.problem.pytree import largest

ORACLE, AGAINST = "accumulated gradient", "gradients of the micro-batches"


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
        reason = f"stateful: the closure moved {window.moved()}; expected one that leaves its gradient in .grad and makes no step"
        return _all("fail", reason)
    unknown = f"weights unknown: {why}, and no loss over all of their outputs tells what each of them weighs"
    coefficients = as_sum(found, parts)
    if coefficients is None:
        return _all("inconclusive", unknown)
    if largest(flat(weighted(coefficients, parts)) - flat(found)) > ALIKE * largest(flat(found)):
        reason = "wrong accumulation: what the loop leaves is no sum of the gradients of its micro-batches, whatever they weigh"
        return _all("fail", reason)
    counted = [any(gradient.any() for gradient in part.values()) for part in parts]
    out = [m for m, (c, counts) in enumerate(zip(coefficients, counted, strict=True), start=1) if counts and not c]
    if out:
        return _all("fail", f"wrong accumulation: micro-batch {out[0]} left out")
    return _all("inconclusive", f"{unknown}; in this loop they weigh {listed(coefficients)}")


def _all(verdict: Verdict, reason: str) -> Certificate:
    return Certificate((Check.plain("all", ORACLE, AGAINST, 0, verdict, reason),))
