"""Whether a second call of a module, a loss or a loop gives another gradient, and which state changes it."""

from dataclasses import dataclass

from nets.errors import InputError
from nets.records.loop_reason import LoopReason
from nets.records.reason import Finding
from nets.verification.accumulation.rounding.equality import EQUAL_VECTORS
from nets.verification.accumulation.window.weights import Gradients
from nets.verification.accumulation.window.whole_batch import WholeBatch
from nets.verification.accumulation.window.window import Closure
from nets.verification.problem.pytree import largest

MOST_TRIED = 12
"""The most values changed by a call that are tried one by one."""


@dataclass(frozen=True, slots=True)
class Statefulness:
    """What calls of a module and its loss change.

    Attributes:
        reason: why the gradient of a micro-batch depends on earlier calls; None where it does not.
        parts: the gradients of the micro-batches one after the other, each from the state that the call before left;
            empty where each call may give others.
        harmless: the values that are changed while no gradient depends on them, other than buffers of the module.
    """

    reason: Finding | None
    parts: list[Gradients]
    harmless: str = ""


def statefulness_of_module_and_loss(whole_batch: WholeBatch, truth: Gradients, parts: list[Gradients]) -> Statefulness:
    """Compute the whole batch again from the state at the start, and the micro-batches again without restoring the
    state.

    Args:
        truth: the gradient of the whole batch.
        parts: the gradient of each micro-batch, from the state at the start.
    """
    window = whole_batch.window
    if not _equal([whole_batch.gradient()], [truth]):
        return Statefulness(LoopReason.NOT_REPRODUCIBLE.because(), [])
    with window.keeping_state():
        in_sequence = window.micro_batch_gradients()
    if _equal(in_sequence, parts):
        buffers = {f"module.{name}" for name, _ in window.module.named_buffers()}
        paths = [path for path in window.snapshot.changed() if path not in buffers]
        return Statefulness(None, parts, _listed(paths) if paths else "")
    what = _what_matters(whole_batch, parts)
    return Statefulness(LoopReason.STATE_MATTERS.because(what=what), in_sequence)


def statefulness_of_loop(
    whole_batch: WholeBatch, closure: Closure, found: Gradients, tolerance: dict[str, float]
) -> Finding | None:
    """Why a second call of a loop leaves another gradient, though `.grad` was cleared before it; None where it does
    not.

    Args:
        found: what the first call left.
        tolerance: the error that rounding explains, for each parameter.
    """
    window = whole_batch.window
    window.run(closure)
    try:
        again = window.run_again(closure, clear=True)
    except InputError as error:
        return LoopReason.SECOND_CALL_FAILS.because(error=error)
    if not all(gradient.isfinite().all() for gradient in found.values()):  # which has a reason of its own
        return None
    if all(largest(again[name] - found[name]) <= 2 * tolerance[name] for name in found):
        return None
    paths = _listed(window.snapshot.changed("closure") or window.snapshot.changed())
    if not any(gradient.any() for gradient in found.values()):
        return LoopReason.EARLIER_WINDOW.because(where=paths)
    if all(largest(again[name] - 2 * found[name]) <= 2 * tolerance[name] for name in found):
        return LoopReason.EARLIER_WINDOW_ADDED.because(where=paths)
    return LoopReason.SECOND_CALL_DIFFERS.because(what=paths)


def _what_matters(whole_batch: WholeBatch, parts: list[Gradients]) -> str:
    """The changed values that change the gradient by themselves; all changed values where none does."""
    window = whole_batch.window
    first = next((m for m, part in enumerate(parts) if any(gradient.any() for gradient in part.values())), 0)

    def call_all() -> None:
        window.reset()
        with window.keeping_state():
            window.micro_batch_gradients()

    call_all()
    changed = window.snapshot.changed()[:MOST_TRIED]
    matters = []
    for path in changed:
        call_all()
        if not _equal([window.micro_batch_gradient(first, except_for=path)], [parts[first]]):
            matters.append(path)
    return _listed(matters or changed)


def _listed(paths: list[str]) -> str:
    """The first four paths."""
    shown = ", ".join(paths[:4]) + (", …" if len(paths) > 4 else "")
    return shown or "something that cannot be observed"


def _equal(one: list[Gradients], other: list[Gradients]) -> bool:
    return all(
        largest(a[name] - b[name]) <= EQUAL_VECTORS * max(largest(a[name]), largest(b[name]))
        for a, b in zip(one, other, strict=True)
        for name in a
    )
