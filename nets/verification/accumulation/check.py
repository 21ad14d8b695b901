"""Is an accumulated gradient the gradient of the whole batch? Whoever accumulates, the loss over the whole batch is the truth."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nets.errors import InputError
from nets.records.certificate import Certificate
from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import PASSED, Finding, Reason
from nets.records.verdict import Verdict
from nets.text import one_line
from nets.verification.accumulation.faults import Evidence, fault, listed, mistake, statistics
from nets.verification.accumulation.graph_rounding import Rounding
from nets.verification.accumulation.joining import call
from nets.verification.accumulation.reference import Reference
from nets.verification.accumulation.state import Reached
from nets.verification.accumulation.statefulness import Moved, of_the_loop, of_the_parts
from nets.verification.accumulation.unweighed import without_weights
from nets.verification.accumulation.weighing import Weights
from nets.verification.accumulation.window import Closure, Gradients, Window
from nets.verification.compare.comparison import POWER
from nets.verification.noise.rounding import ROUNDING_SAFETY, unit_roundoff
from nets.verification.problem.copies import check_usable
from nets.verification.problem.pytree import largest, unravelled
from nets.verification.problem.randomness import SOURCES, seeded, stream
from nets.verification.progress import shown

PASSES = 3
"""Runs of the whole batch with results rounded at random; the largest deviation is the noise of the gradient."""

ORACLE, AGAINST = Method.ACCUMULATED_GRADIENT, Method.WHOLE_BATCH


def check_accumulation(
    module: nn.Module, loss: Callable[..., Tensor], micro_batches: Iterable[Any], closure: Closure | None = None, *, seed: int = 0
) -> Certificate:
    """Hold a gradient that was accumulated over micro-batches against the gradient of the loss over all of them at once.

    The right gradient is ∂ℓ/∂θ of the whole batch, which for a loss that is a sum over micro-batches is Σ_m w_m ∂ℓ_m/∂θ. What a
    micro-batch weighs is told by the loss itself: w_m is the factor by which ∂ℓ/∂Y of the whole batch, at the outputs of
    micro-batch m, is larger than ∂ℓ_m/∂Y of that micro-batch alone. For a mean over samples that is N_m/N, for a mean over
    unmasked tokens their share, for a sum 1; where nothing counts, it is 0.

    Micro-batches that may not be put together (offsets of packed sequences, edges of graphs, lists of images) are called one by
    one, and the loss is taken over all of their outputs; a note says so.

    Everything is done in double precision, with the very objects that were given, so that hooks, compiled modules and closures
    over the module do what they always do. Afterwards module, loss and closure, all that they can reach, `.grad`, mode and the
    global random state are as they were before.

    Limitations:
        - What would have been seen stands in the sentence. In double precision that is a scale which is off by 1e-13 or less; with
          a loss in float32 by 4e-6 to 2e-5 (20 networks of 212 parameters, 32 samples). With a loss in bfloat16 or float16
          rounding hides faults of 3 to 90 %: right loops are then 'inconclusive', and only larger faults fail.
        - One point and one window are looked at. A schedule that changes at a later call than those of this window is not seen.
          What calls move while no gradient depends on it stands in a note.
        - State in a file, in C++ or in an iterator cannot be put back. It shows only by calls that give something else each time.
        - A loss that draws random numbers is given the same ones for the same target. Numbers of NumPy and of Python's `random` for
          each sample cannot be those of the whole batch: 'inconclusive'.
        - Where neither inputs nor outputs of the micro-batches can be put together, as with packed sequences whose module returns
          its loss, nothing tells their weights: 'inconclusive', unless what the loop leaves is no sum of their gradients.
        - BatchNorm in training, and modules whose output draws random numbers in eval mode too, are not certified.
        - A mistake is named if it is one of some twenty patterns, or a sum of at most 64 micro-batches. Several mistakes may leave
          the same numbers; at most three of them are named.
        - It takes 12 to 17 forward passes over the window, all on the CPU, of which three to six with results rounded at random.

    Args:
        module: any module; `module(input)`, or `module(*input)` for a tuple or list, `module(**input)` for a dict. A list whose
            length varies, or that the module takes as one argument, is one.
        loss: `loss(output, target)`, a scalar.
        micro_batches: (input, target), …; tensors, or nested lists, tuples and dicts of them, with the samples along the first
            axis. They may be ragged or empty.
        closure: your own loop, `closure(module, loss, micro_batches)`, which leaves its gradient in `.grad` and makes no step;
            without one it is checked that micro-batches weighted as above do give the gradient of the whole batch, which they do
            not with BatchNorm in training, say.
        seed: of the random numbers that module, loss and closure draw.

    Returns:
        A Certificate with a check for each parameter; where it fails, the reason says what the loop did instead. What rounding
        explains is measured: the whole batch is run again with each operation's result moved by a unit in the last place at random,
        and so is a loop that differs from it.

    Raises:
        InputError: for micro-batches that are no pairs, a module or loss that raises, a loss that is no finite scalar, or a closure
            that fails.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"check_accumulation was given a {type(module).__name__}; expected a torch.nn.Module, and then its loss.")
    if not callable(loss):
        raise InputError(f"the loss is a {type(loss).__name__}; expected a function of output and target, such as F.mse_loss.")
    if closure is not None and not callable(closure):
        raise InputError(f"the closure is a {type(closure).__name__}; expected a function of module, loss and micro-batches.")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"the seed is {seed!r}; expected a whole number from 0 to 2⁶³ − 1.")
    check_usable(module)
    with shown("checking an accumulation"), torch.inference_mode(False), torch.enable_grad(), seeded(tuple(SOURCES), seed):
        given = _listed(micro_batches)
        with Reached(module=module, loss=loss, closure=closure) as reached:
            window = Window(reached, module, loss, given, seed)
            if not window.draws:
                return _certificate(window, closure)
        with _eval_mode(module), Reached(module=module, loss=loss, closure=closure) as reached:
            window = Window(reached, module, loss, given, seed)
            return _calmed(_certificate(window, closure), window.draws)


def _certificate(window: Window, closure: Closure | None) -> Certificate:
    reference = Reference(window)
    if not reference.known:
        return without_weights(reference, closure)
    truth, parts = reference.whole(), window.parts()
    weights = reference.weights(parts, truth)
    state = of_the_parts(reference, truth, parts)
    loop = _weighted(window, weights) if closure is None else closure
    found = window.run(loop)
    moved = window.moved()
    if moved:
        who = "a hook" if closure is None else "the closure"
        what = f"{who} moved {moved}; expected one that leaves its gradient in .grad and makes no step"
        found_out = Reason.STATEFUL.because(what=what)
        return Certificate((Check.without_entry(moved, ORACLE, AGAINST, Verdict.FAIL, found_out),))
    tolerance = _tolerance(reference, truth, parts, weights)
    stateful = state.reason or of_the_loop(reference, loop, found, tolerance)
    if any(largest(found[name] - truth[name]) > tolerance[name] for name in truth):
        tolerance = _with_the_loops_own(window, loop, found, tolerance)
    size = max(map(largest, truth.values()))
    checks = [_compared(name, found[name], truth[name], tolerance[name], size) for name in truth]
    if stateful:
        return _stateful(checks, stateful, Evidence(found, truth, state.parts, weights, tolerance, reference, loop))
    if any(check.verdict == Verdict.FAIL for check in checks):
        reason = fault(Evidence(found, truth, parts, weights, tolerance, reference, loop))
        checks = [check.because(reason) if check.verdict == Verdict.FAIL else check for check in checks]
    elif reference.apart and window.normalises:
        text = f"{statistics(window)}; the whole batch, which cannot be put together, would have others"
        checks = [check.explained(Verdict.INCONCLUSIVE, Finding(None, text)) for check in checks]
    return Certificate(tuple(checks), notes=_notes(reference, weights, state, closure, found, tolerance))


def _listed(micro_batches: Any) -> list[Any]:
    try:
        return list(micro_batches)
    except Exception as error:  # whatever an iterable of the caller's raises
        raise InputError(
            f"the micro-batches are a {type(micro_batches).__name__} that cannot be iterated over ({one_line(error)}); expected a "
            "list of (input, target), or a DataLoader."
        ) from error


def _stateful(checks: list[Check], found: Finding, evidence: Evidence) -> Certificate:
    """What differs fails, and nothing passes: a gradient that depends on the calls before is not that of a loss."""
    besides = mistake(evidence)
    why = Finding(found.reason, found.message + (f"; besides, it looks like {besides}" if besides else ""))
    told = [c if c.verdict == Verdict.FAIL else replace(c, verdict=Verdict.INCONCLUSIVE) for c in checks]
    told = [c.explained(c.verdict, why) for c in told]
    if not any(check.verdict == Verdict.FAIL for check in told):
        told.insert(0, Check.without_entry("all", ORACLE, AGAINST, Verdict.FAIL, why))
    return Certificate(tuple(told))


def _weighted(window: Window, weights: Weights) -> Closure:
    """The loop that is right wherever micro-batches can stand for the whole batch; by the samples' shares where none can."""
    values = weights.values or tuple(size / sum(window.sizes) for size in window.sizes)

    def loop(module: nn.Module, loss: Callable[..., Tensor], micro_batches: list[Any]) -> None:
        for (given, target), weight in zip(micro_batches, values, strict=True):
            if weight:
                (weight * loss(call(module, given, window.one), target)).backward()

    return loop


def _tolerance(reference: Reference, truth: Gradients, parts: list[Gradients], weights: Weights) -> dict[str, float]:
    """What rounding explains, for each parameter: its effect on the whole batch, and on the sum of the parts."""
    generator = stream(reference.window.seed, "rounding of the whole batch")
    noise = dict.fromkeys(truth, 0.0)
    for _ in range(PASSES):
        with Rounding(generator):
            again = reference.whole()
        for name, gradient in truth.items():
            noise[name] = max(noise[name], float(torch.nan_to_num((again[name] - gradient).abs()).max()))
    unit, tiny = unit_roundoff(torch.float64), torch.finfo(torch.float64).tiny
    for name in truth:
        sizes = [abs(w) * largest(part[name]) for w, part in zip(weights.values or (), parts, strict=False)]
        noise[name] = max(noise[name], unit * sum(sizes), unit * largest(truth[name]), tiny)
    return {name: ROUNDING_SAFETY * found for name, found in noise.items()}


def _with_the_loops_own(window: Window, loop: Closure, found: Gradients, tolerance: dict[str, float]) -> dict[str, float]:
    """The same, or what rounding explains of the loop itself, which may compute in less precision than the whole batch."""
    noise = dict.fromkeys(found, 0.0)
    for number in range(PASSES):
        again = window.run_rounded(loop, f"rounding of the loop, pass {number}")
        for name, gradient in found.items():
            noise[name] = max(noise[name], float(torch.nan_to_num((again[name] - gradient).abs()).max()))
    return {name: max(tolerance[name], ROUNDING_SAFETY * noise[name]) for name in found}


def _compared(name: str, actual: Tensor, expected: Tensor, tolerance: float, size: float) -> Check:
    """One parameter's gradient.

    Args:
        size: the largest entry of all parameters' gradients. A gradient is zero up to rounding only where rounding is small beside
            this: noise that is as large as the gradients themselves shows nothing.
    """
    error = torch.nan_to_num((actual - expected).abs(), nan=torch.inf)
    wrong, scale, entry = bool((error > tolerance).any()), largest(expected), int(error.argmax())
    zero = scale <= tolerance and (tolerance <= POWER * size or not expected.any())
    detects = tolerance / scale if scale else float("inf")
    blind = not zero and detects > POWER
    verdict, why = Verdict.PASS, Reason.ZERO_EVERYWHERE.because(what="loss") if zero else PASSED
    if wrong:
        verdict, why = Verdict.FAIL, Reason.WRONG_ACCUMULATION.because()
    elif blind:
        verdict, why = Verdict.INCONCLUSIVE, Reason.TOO_SMALL.because(fault=f"a fault below {detects:.1%}")
    index = unravelled(entry, tuple(expected.shape))
    return Check.from_errors(
        name,
        ORACLE,
        AGAINST,
        actual,
        expected,
        torch.tensor(tolerance, dtype=expected.dtype),
        verdict,
        why,
        shown=entry,
        worst_index=index,
        detects=None if zero else detects,
        detects_entry=None if zero else detects,
        output="loss",
        output_index=(),
        parameter_index=index,
    )


def _notes(
    reference: Reference,
    weights: Weights,
    state: Moved,
    closure: Closure | None,
    found: Gradients,
    tolerance: dict[str, float],
) -> tuple[str, ...]:
    window, notes = reference.window, []
    if weights.values and weights.separable:
        sizes = ", ".join([str(size) for size in window.sizes[:6]] + ["…"] * (len(window.sizes) > 6))
        told = listed(weights.values)
        notes.append(f"micro-batches of {sizes} samples weigh {told}, as the loss over all of them has it")
    if reference.apart:
        why = f"the micro-batches were not put together ({reference.apart})"
        notes.append(f"{why}: the loss is taken over the outputs of each alone")
    if reference.relabelled:
        notes.append("whole numbers of the inputs only name groups of samples: put together, the groups got different names")
    if reference.loss_draws:
        drawn = "the whole batch draws those of its micro-batches" if reference.replayed else "each micro-batch draws its own"
        notes.append(f"the loss draws random numbers, the same ones at each call with the same target; {drawn}")
    if state.harmless:
        notes.append(f"calls of module and loss move {state.harmless}; no gradient of this window depends on it")
    if closure is not None:
        window.run(closure)
        twice = window.run_again(closure, clear=False)
        if any(largest(twice[name] - 2 * found[name]) <= 2 * tolerance[name] < largest(found[name]) for name in found):
            notes.append("a second window is added to the first: call zero_grad between them")
    return tuple(notes)


@contextlib.contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    modes = [(inner, inner.training) for inner in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for inner, training in modes:
            inner.training = training


def _calmed(found: Certificate, draws: bool) -> Certificate:
    """The certificate of a module whose output depends on random numbers, from that of the same module in eval mode, where it does
    not. No sum of micro-batches is held against a whole batch for which others were drawn.

    Args:
        found: the certificate in eval mode.
        draws: whether the output depends on random numbers there, too.
    """
    if not draws and found.verdict == Verdict.FAIL:
        note = "the module draws random numbers, as dropout does: what is shown was found in eval mode"
        return replace(found, notes=(*found.notes, note))
    text = (
        "not deterministic: the module draws random numbers, as dropout does, others for each micro-batch than for the whole batch"
    )
    text += ", in eval mode too" if draws else "; without them, in eval mode, the accumulation is right"
    why = Finding(Reason.NOT_DETERMINISTIC, text)
    return replace(found, checks=tuple(check.explained(Verdict.INCONCLUSIVE, why) for check in found.checks))
