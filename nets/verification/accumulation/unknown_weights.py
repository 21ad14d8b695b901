"""Loops without a loss over all micro-batches: the weights of the micro-batches are not known."""

from nets.errors import InputError
from nets.records.certificate import Certificate
from nets.records.check import Check
from nets.records.loop_reason import LoopReason
from nets.records.method import Method
from nets.records.reason import Finding
from nets.records.verdict import Verdict
from nets.verification.accumulation.faults.evidence import MATCH, coefficients_text, fitted_coefficients
from nets.verification.accumulation.window.weights import flat, weighted_sum
from nets.verification.accumulation.window.whole_batch import WholeBatch
from nets.verification.accumulation.window.window import Closure
from nets.verification.problem.pytree import largest


def check_without_weights(whole_batch: WholeBatch, closure: Closure | None) -> Certificate:
    """Check whether the loop leaves a sum of the gradients of all micro-batches, with any weights. It never passes.

    Raises:
        InputError: without a loop, since there is nothing to check then.
    """
    window = whole_batch.window
    why = f"the micro-batches cannot be concatenated ({whole_batch.obstacle})"
    if closure is None:
        raise InputError(
            f"{why}; expected a closure to check, or outputs and targets that can be concatenated along their first "
            "axis."
        )
    parts, found = window.micro_batch_gradients(), window.run(closure)
    if window.changed_parameter():
        changed = LoopReason.PARAMETER_CHANGED.because(who="the closure", parameter=window.changed_parameter())
        return _certificate(Verdict.FAIL, changed)
    unknown = f"{why}, and no loss over all of their outputs gives the weight of each of them"
    coefficients = fitted_coefficients(found, parts)
    if coefficients is None:
        return _certificate(Verdict.INCONCLUSIVE, LoopReason.WEIGHTS_UNKNOWN.because(why=unknown))
    if largest(flat(weighted_sum(coefficients, parts)) - flat(found)) > MATCH * largest(flat(found)):
        return _certificate(Verdict.FAIL, LoopReason.NOT_A_SUM.because())
    counted = [any(gradient.any() for gradient in part.values()) for part in parts]
    left_out = [m for m, (c, counts) in enumerate(zip(coefficients, counted, strict=True), start=1) if counts and not c]
    if left_out:
        reason = LoopReason.LEFT_OUT.because(number=left_out[0])
        return _certificate(Verdict.FAIL, Finding(reason.reason, f"{LoopReason.WRONG_ACCUMULATION}: {reason.message}"))
    why = f"{unknown}; in this loop they weigh {coefficients_text(coefficients)}"
    return _certificate(Verdict.INCONCLUSIVE, LoopReason.WEIGHTS_UNKNOWN.because(why=why))


def _certificate(verdict: Verdict, reason: Finding) -> Certificate:
    check = Check.without_entry("all", Method.ACCUMULATED_GRADIENT, Method.MICRO_BATCHES, verdict, reason)
    return Certificate((check,))
