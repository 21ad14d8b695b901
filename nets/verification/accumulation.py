"""Is an accumulated gradient the gradient of the whole batch? Whoever accumulates, the loss over the whole batch is the truth."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nets.errors import InputError
from nets.verification.accumulation_faults import Evidence, fault
from nets.verification.certificate import Certificate, Check, Verdict
from nets.verification.comparison import POWER
from nets.verification.copies import one_line
from nets.verification.leaves import largest, unravelled
from nets.verification.progress import shown
from nets.verification.randomness import SOURCES, seeded, stream
from nets.verification.rounding import ROUNDING_SAFETY, StochasticRounding, unit_roundoff
from nets.verification.window import Closure, Gradients, Window

PASSES = 3
"""Runs of the whole batch with results rounded at random; the largest deviation is the noise of the gradient."""

ORACLE, AGAINST = "accumulated gradient", "whole batch"


def check_accumulation(
    module: nn.Module, loss: Callable[..., Tensor], micro_batches: Iterable[Any], closure: Closure | None = None, *, seed: int = 0
) -> Certificate:
    """Hold a gradient that was accumulated over micro-batches against the gradient of the loss over all of them at once.

    What a micro-batch weighs is told by the loss itself: w_m is the factor by which ∂ℓ/∂Y of the whole batch, at the outputs of
    micro-batch m, is larger than ∂ℓ_m/∂Y of that micro-batch alone. For a mean over samples that is N_m/N, for a mean over unmasked
    tokens their share, for a sum 1; where nothing counts, it is 0. The right gradient is Σ_m w_m ∂ℓ_m/∂θ.

    All is done in double precision on copies: module, `.grad`, buffers, mode and the global random state stay as they were.

    Args:
        module: any module; `module(input)`, or `module(*input)` for a tuple or list, `module(**input)` for a dict.
        loss: `loss(output, target)`, a scalar.
        micro_batches: (input, target), …; tensors, or nested lists, tuples and dicts of them, with the samples along the first
            axis. They may be ragged or empty.
        closure: your own loop, `closure(module, loss, micro_batches)`, which leaves its gradient in `.grad` and makes no step;
            without one it is checked that micro-batches weighted as above do give the gradient of the whole batch, which they do
            not with BatchNorm in training, say.
        seed: of the random numbers that module and closure draw.

    Returns:
        A Certificate with a check for each parameter; where it fails, the reason says what the loop did instead. What rounding
        explains is measured: the whole batch is run again with each operation's result moved by a unit in the last place at random.

    Raises:
        InputError: for micro-batches that cannot be put together, a loss that is no finite scalar, or a closure that fails.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"check_accumulation was given a {type(module).__name__}; expected a torch.nn.Module, and then its loss.")
    if not callable(loss):
        raise InputError(f"the loss is a {type(loss).__name__}; expected a function of output and target, such as F.mse_loss.")
    with shown("checking an accumulation"), torch.inference_mode(False), torch.enable_grad(), seeded(tuple(SOURCES), seed):
        window = Window(module, loss, micro_batches, seed)
        before = _watched(module)
        certificate = _calmed(window, closure) if window.draws else _certificate(window, closure)
        if _watched(module) != before:
            raise InputError(
                "the closure changed the module that check_accumulation was given, not the copy that it was handed; expected one "
                "that works on its first argument alone: take model and optimizer from closure(module, loss, micro_batches)."
            )
        return certificate


def _certificate(window: Window, closure: Closure | None) -> Certificate:
    truth, parts = window.whole(), window.parts()
    weights = window.weights(parts, truth)
    loop = closure or _weighted(weights)
    moved, found = _done(window, loop)
    if moved:
        reason = f"stateful: the closure moved {moved}; expected one that leaves its gradient in .grad and makes no step"
        return Certificate((Check.plain(moved, ORACLE, AGAINST, 0, "fail", reason),))
    tolerance = _tolerance(window, truth, parts, weights)
    checks = [_compared(name, found[name], truth[name], tolerance[name]) for name in truth]
    evidence = Evidence(found, truth, parts, weights, tolerance, window)
    if any(check.verdict == "fail" for check in checks):
        reason = fault(evidence)
        checks = [check.because(reason) if check.verdict == "fail" else check for check in checks]
    return Certificate(tuple(checks), notes=_notes(window, weights, closure, found, tolerance))


def _weighted(weights: tuple[float, ...]) -> Closure:
    """The loop that is right wherever micro-batches can stand for the whole batch."""

    def loop(module: nn.Module, loss: Callable[..., Tensor], micro_batches: list[Any]) -> None:
        for (given, target), weight in zip(micro_batches, weights, strict=True):
            if weight:
                (weight * loss(Window.output(module, given), target)).backward()

    return loop


def _done(window: Window, loop: Closure) -> tuple[str, Gradients]:
    try:
        return window.run(loop)
    except InputError:
        raise
    except Exception as error:  # whatever is wrong in a loop of the user's
        raise InputError(
            f"the closure raises {type(error).__name__} ({one_line(error)}); expected closure(module, loss, micro_batches) to run "
            "on copies in double precision: cast nothing to another dtype, and take all that it needs from its arguments."
        ) from error


def _tolerance(window: Window, truth: Gradients, parts: list[Gradients], weights: tuple[float, ...]) -> dict[str, float]:
    """What rounding explains, for each parameter: its effect on the whole batch, and on the sum of the parts."""
    generator = stream(window.seed, "rounding of the whole batch")
    noise = dict.fromkeys(truth, 0.0)
    for _ in range(PASSES):
        with StochasticRounding(generator):
            again = window.whole()
        for name, gradient in truth.items():
            noise[name] = max(noise[name], float(torch.nan_to_num((again[name] - gradient).abs()).max()))
    unit, tiny = unit_roundoff(torch.float64), torch.finfo(torch.float64).tiny
    for name in truth:
        sizes = [abs(w) * largest(part[name]) for w, part in zip(weights, parts, strict=True)]
        noise[name] = max(noise[name], unit * sum(sizes), unit * largest(truth[name]), tiny)
    return {name: ROUNDING_SAFETY * found for name, found in noise.items()}


def _compared(name: str, actual: Tensor, expected: Tensor, tolerance: float) -> Check:
    error = torch.nan_to_num((actual - expected).abs(), nan=torch.inf)
    wrong, scale, entry = error > tolerance, largest(expected), int(error.argmax())
    zero = scale <= tolerance
    detects = tolerance / scale if scale else float("inf")
    blind = not zero and detects > POWER
    verdict: Verdict = "fail" if wrong.any() else "inconclusive" if blind else "pass"
    reason = "zero up to rounding: the loss does not depend on it" if zero else ""
    if wrong.any():
        reason = "wrong accumulation"
    elif blind:
        reason = f"rounding: the gradient is too small here to see a fault below {detects:.1%}"
    index = unravelled(entry, tuple(expected.shape))
    return Check(
        parameter=name,
        oracle=ORACLE,
        against=AGAINST,
        entries=expected.numel(),
        wrong=int(wrong.sum()),
        max_abs_error=float(error.max()),
        max_rel_error=float(error.max()) / scale if scale else float("inf") if wrong.any() else 0.0,
        worst_index=index,
        expected=float(expected.reshape(-1)[entry]),
        actual=float(actual.reshape(-1)[entry]),
        tolerance=tolerance,
        detects=None if zero else detects,
        detects_entry=None if zero else detects,
        verdict=verdict,
        reason=reason,
        output="loss",
        output_index=(),
        parameter_index=index,
    )


def _notes(
    window: Window, weights: tuple[float, ...], closure: Closure | None, found: Gradients, tolerance: dict[str, float]
) -> tuple[str, ...]:
    few = [f"{w:.4g}" for w in weights[:6]] + ["…"] * (len(weights) > 6)
    sizes = [str(size) for size in window.sizes[:6]] + ["…"] * (len(weights) > 6)
    notes = [f"micro-batches of {', '.join(sizes)} samples weigh {', '.join(few)}, as the loss over all of them has it"]
    if closure is not None:
        twice = window.run(closure, times=2)[1]
        if any(largest(twice[name] - 2 * found[name]) <= 2 * tolerance[name] < largest(found[name]) for name in found):
            notes.append("a second window is added to the first: call zero_grad between them")
    return tuple(notes)


def _calmed(window: Window, closure: Closure | None) -> Certificate:
    """The certificate of a module whose output depends on random numbers: that of the same module in eval mode, where it does not.
    No sum of micro-batches is held against a whole batch for which others were drawn."""
    calm = window.calm()
    found = _certificate(window if calm.draws else calm, closure)
    if not calm.draws and found.verdict == "fail":
        note = "the module draws random numbers (dropout): what is shown was found in eval mode"
        return replace(found, notes=(*found.notes, note))
    reason = "not deterministic: the module draws random numbers (dropout), others for each micro-batch than for the whole batch"
    reason += ", in eval mode too" if calm.draws else "; without them, in eval mode, the accumulation is right"
    return replace(found, checks=tuple(replace(check, verdict="inconclusive", reason=reason) for check in found.checks))


def _watched(module: nn.Module) -> list[tuple[int, int, int, int]]:
    """What changes when somebody works on a module's parameters or their gradients."""
    return [
        (id(p), p._version, id(p.grad), -1 if p.grad is None else p.grad._version)
        for p in [*module.parameters(), *module.buffers()]
    ]
