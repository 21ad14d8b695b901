"""Is an accumulated gradient the gradient of the whole batch?"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nets.errors import InputError
from nets.records.certificate import Certificate
from nets.records.check import Check
from nets.records.loop_reason import LoopReason
from nets.records.method import Method
from nets.records.reason import PASSED, Finding, Reason
from nets.records.verdict import Verdict
from nets.text import one_line
from nets.validation import refusal, whole
from nets.verification.accumulation.faults.diagnosis import (
    diagnose_loop,
    looks_like,
    matching_mistakes,
    sample_coupling,
)
from nets.verification.accumulation.faults.evidence import Evidence
from nets.verification.accumulation.notes import notes
from nets.verification.accumulation.repeated_calls import statefulness_of_loop, statefulness_of_module_and_loss
from nets.verification.accumulation.state.snapshot import StateSnapshot
from nets.verification.accumulation.tolerance import loop_tolerance, whole_batch_tolerance
from nets.verification.accumulation.unknown_weights import check_without_weights
from nets.verification.accumulation.window.micro_batches import call_module
from nets.verification.accumulation.window.weights import Weights
from nets.verification.accumulation.window.whole_batch import WholeBatch
from nets.verification.accumulation.window.window import Closure, Window
from nets.verification.compare.comparison import POWER
from nets.verification.problem.copies import check_usable
from nets.verification.problem.pytree import largest, unravelled
from nets.verification.problem.randomness import SOURCES, seeded
from nets.verification.progress import shown

ORACLE, AGAINST = Method.ACCUMULATED_GRADIENT, Method.WHOLE_BATCH


def check_accumulation(
    module: nn.Module,
    loss: Callable[..., Tensor],
    micro_batches: Iterable[Any],
    closure: Closure | None = None,
    *,
    seed: int = 0,
) -> Certificate:
    """Compare a gradient that was accumulated over micro-batches with the gradient of the loss over all of them at
    once.

    The right gradient is ∂ℓ/∂θ of the whole batch, which for a loss that is a sum over micro-batches is Σ_m w_m
    ∂ℓ_m/∂θ. The weights follow from the loss: w_m is the ratio of ∂ℓ/∂Y of the whole batch, at the outputs of
    micro-batch m, to ∂ℓ_m/∂Y of that micro-batch alone. For a mean over samples that is N_m/N, for a mean over unmasked
    tokens their share, for a sum 1, and 0 for a micro-batch in which nothing counts.

    Micro-batches that cannot be concatenated (offsets of packed sequences, edges of graphs, lists of images) are called
    one by one, and the loss is taken over all of their outputs; a note says so.

    Everything is computed in double precision with the given objects themselves, not with copies, so hooks, compiled
    modules and closures over the module work as usual. Afterwards the module, the loss and the closure, everything that
    they can reach, `.grad`, the mode and the global random state are as they were before.

    Limitations:
        - The sentence states the smallest fault that would have been found. In double precision it is a wrong scale of
          1e-13 or less; with a loss in float32 one of 4e-6 to 2e-5 (20 networks of 212 parameters, 32 samples). With a
          loss in bfloat16 or float16 rounding hides faults of 3 to 90 %: right loops are then 'inconclusive', and only
          larger faults fail.
        - One point and one window are checked. A schedule that changes at a later call is not found. A note names the
          state that calls change without an effect on any gradient.
        - State in a file, in C++ or in an iterator cannot be put back. It shows only if calls give different results.
        - A loss that draws random numbers draws the same ones for the same target. Numbers that it draws for each
          sample from NumPy or Python's `random` cannot be repeated for the whole batch: 'inconclusive'.
        - Where neither inputs nor outputs of the micro-batches can be concatenated, as with packed sequences whose
          module returns its loss, the weights are unknown: 'inconclusive', unless the loop leaves no sum of the
          gradients.
        - BatchNorm in training, and modules whose output is random in eval mode too, are not certified.
        - A mistake is named if it is one of about twenty patterns, or another sum of at most 64 micro-batches. If
          several mistakes explain the gradient, at most three of them are named.
        - It takes 12 to 17 forward passes over the window, all on the CPU, three to six of them with stochastic
          rounding.

    Args:
        module: any module; `module(input)`, or `module(*input)` for a tuple or list, `module(**input)` for a dict. A
            list whose length varies, or that the module takes as one argument, is one argument.
        loss: `loss(output, target)`, a scalar.
        micro_batches: (input, target), …; tensors, or nested lists, tuples and dicts of them, with the samples along
            the first axis. They may be ragged or empty.
        closure: your own loop, `closure(module, loss, micro_batches)`, which leaves its gradient in `.grad` and makes
            no step. Without one, the loop with the weights w_m is checked, which is wrong with BatchNorm in training,
            for example.
        seed: of the random numbers that module, loss and closure draw.

    Returns:
        A Certificate with a check for each parameter. Where it fails, the reason is what the loop did instead. The
        tolerance is measured: the whole batch, and a loop whose gradient differs from it, are run again with stochastic
        rounding.

    Raises:
        InputError: for a micro-batch that is not a pair, a module or loss that raises an error, a loss that is not a
            finite scalar, or a closure that fails.
    """
    _check_arguments(module, loss, closure, seed)
    check_usable(module)
    with (
        shown("checking an accumulation"), torch.inference_mode(False), torch.enable_grad(), seeded(tuple(SOURCES),
        seed)
    ):  # fmt: skip
        given = _listed(micro_batches)
        with StateSnapshot(module=module, loss=loss, closure=closure) as snapshot:
            window = Window(snapshot, module, loss, given, seed)
            if not window.draws:
                return _certificate(window, closure)
        with _eval_mode(module), StateSnapshot(module=module, loss=loss, closure=closure) as snapshot:
            window = Window(snapshot, module, loss, given, seed)
            return _of_random_module(_certificate(window, closure), window.draws)


def _check_arguments(module: object, loss: object, closure: object, seed: object) -> None:
    if not isinstance(module, nn.Module):
        raise InputError(
            f"check_accumulation was given a {type(module).__name__}; expected a torch.nn.Module, and then its loss."
        )
    if not callable(loss):
        raise refusal("loss", loss, "a function of output and target, such as F.mse_loss")
    if closure is not None and not callable(closure):
        raise refusal("closure", closure, "a function of module, loss and micro-batches")
    whole("seed", seed, 0)


def _listed(micro_batches: Any) -> list[Any]:
    try:
        return list(micro_batches)
    except Exception as error:  # an iterable of the caller's may raise anything
        raise InputError(
            f"the micro-batches are a {type(micro_batches).__name__} that cannot be iterated over ({one_line(error)}); "
            "expected a list of (input, target), or a DataLoader."
        ) from error


def _certificate(window: Window, closure: Closure | None) -> Certificate:
    whole_batch = WholeBatch(window)
    if not whole_batch.exists:
        return check_without_weights(whole_batch, closure)
    truth, parts = whole_batch.gradient(), window.micro_batch_gradients()
    weights = whole_batch.weights(parts, truth)
    state = statefulness_of_module_and_loss(whole_batch, truth, parts)
    loop = _weighted_loop(window, weights) if closure is None else closure
    found = window.run(loop)
    changed = window.changed_parameter()
    if changed:
        who = "a hook" if closure is None else "the closure"
        reason = LoopReason.PARAMETER_CHANGED.because(who=who, parameter=changed)
        return Certificate((Check.without_entry(changed, ORACLE, AGAINST, Verdict.FAIL, reason),))
    tolerance = whole_batch_tolerance(whole_batch, truth, parts, weights)
    stateful = state.reason or statefulness_of_loop(whole_batch, loop, found, tolerance)
    if any(largest(found[name] - truth[name]) > tolerance[name] for name in truth):
        own = loop_tolerance(window, loop, found)
        tolerance = {name: max(tolerance[name], own[name]) for name in tolerance}
    size = max(map(largest, truth.values()))
    checks = [_check(name, found[name], truth[name], tolerance[name], size) for name in truth]
    if stateful:
        evidence = Evidence(found, truth, state.parts, weights, tolerance, whole_batch, loop)
        return Certificate(tuple(_of_stateful(checks, stateful, matching_mistakes(evidence))))
    if any(check.verdict == Verdict.FAIL for check in checks):
        reason = diagnose_loop(Evidence(found, truth, parts, weights, tolerance, whole_batch, loop))
        checks = [
            check.explained(check.verdict, reason) if check.verdict == Verdict.FAIL else check for check in checks
        ]
    elif whole_batch.obstacle and window.has_batch_norm:
        coupling = sample_coupling(window)
        reason = Finding(
            coupling.reason, f"{coupling.message}; the whole batch, which cannot be concatenated, would have others"
        )
        checks = [check.explained(Verdict.INCONCLUSIVE, reason) for check in checks]
    return Certificate(tuple(checks), notes=notes(whole_batch, weights, state.harmless, closure, found, tolerance))


def _weighted_loop(window: Window, weights: Weights) -> Closure:
    """The loop over micro-batches with the weights w_m, or N_m/N where these are not known. It is right unless samples
    of different micro-batches interact."""
    values = weights.values or tuple(size / sum(window.sizes) for size in window.sizes)

    def loop(module: nn.Module, loss: Callable[..., Tensor], micro_batches: list[Any]) -> None:
        for (given, target), weight in zip(micro_batches, values, strict=True):
            if weight:
                (weight * loss(call_module(module, given, window.single), target)).backward()

    return loop


def _check(name: str, actual: Tensor, expected: Tensor, tolerance: float, size: float) -> Check:
    """The check of one parameter's gradient.

    Args:
        name: of the parameter.
        actual: what the loop left.
        expected: the gradient of the whole batch.
        tolerance: the error that rounding explains.
        size: the largest entry of the gradients of all parameters. A gradient counts as zero only if its tolerance is
            small compared with this.
    """
    error = torch.nan_to_num((actual - expected).abs(), nan=torch.inf)
    wrong, scale, entry = bool((error > tolerance).any()), largest(expected), int(error.argmax())
    zero = scale <= tolerance and (tolerance <= POWER * size or not expected.any())
    detects = tolerance / scale if scale else float("inf")
    verdict, reason = Verdict.PASS, Reason.ZERO_EVERYWHERE.because(what="loss") if zero else PASSED
    if wrong:
        verdict, reason = Verdict.FAIL, LoopReason.WRONG_ACCUMULATION.because()
    elif not zero and detects > POWER:
        verdict, reason = Verdict.INCONCLUSIVE, Reason.TOO_SMALL.because(fault=f"a fault below {detects:.1%}")
    index = unravelled(entry, tuple(expected.shape))
    bound = torch.tensor(tolerance, dtype=expected.dtype)
    return Check.from_errors(
        name, ORACLE, AGAINST, actual, expected, bound, verdict, reason,
        shown=entry, worst_index=index, output="loss", output_index=(), parameter_index=index,
        detects=None if zero else detects, detects_entry=None if zero else detects,
    )  # fmt: skip


def _of_stateful(checks: list[Check], reason: Finding, mistakes: list[Finding]) -> list[Check]:
    """The checks where the gradient depends on earlier calls. None passes, since such a gradient is not that of a
    loss."""
    if mistakes:
        reason = Finding(reason.reason, f"{reason.message}; besides, {looks_like(mistakes)}")
    failed = any(check.verdict == Verdict.FAIL for check in checks)
    first = [] if failed else [Check.without_entry("all", ORACLE, AGAINST, Verdict.FAIL, reason)]
    verdicts = [Verdict.FAIL if check.verdict == Verdict.FAIL else Verdict.INCONCLUSIVE for check in checks]
    return first + [check.explained(verdict, reason) for check, verdict in zip(checks, verdicts, strict=True)]


@contextlib.contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    modes = [(inner, inner.training) for inner in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for inner, training in modes:
            inner.training = training


def _of_random_module(in_eval_mode: Certificate, draws: bool) -> Certificate:
    """The certificate of a module whose output is random, from the certificate of the same module in eval mode.

    In training mode the whole batch draws other random numbers than its micro-batches, so their gradients cannot be
    compared.

    Args:
        in_eval_mode: the certificate in eval mode.
        draws: whether the output is random in eval mode, too.
    """
    if not draws and in_eval_mode.verdict == Verdict.FAIL:
        note = "the module draws random numbers, as dropout does: what is shown was found in eval mode"
        return replace(in_eval_mode, notes=(*in_eval_mode.notes, note))
    mode = ", in eval mode too" if draws else "; without them, in eval mode, the accumulation is right"
    reason = LoopReason.RANDOM_MODULE.because(mode=mode)
    checks = tuple(check.explained(Verdict.INCONCLUSIVE, reason) for check in in_eval_mode.checks)
    return replace(in_eval_mode, checks=checks)
