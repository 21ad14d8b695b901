"""Whether calls of a module, a loss or a loop change what later calls give, and what it is that they move."""

from dataclasses import dataclass

import torch

from nets.errors import InputError
from nets.records.reason import Finding, Reason
from nets.verification.accumulation.reference import Reference
from nets.verification.accumulation.sameness import SAME
from nets.verification.accumulation.window import Closure, Gradients
from nets.verification.problem.pytree import largest

MOST = 12
"""Things that a call moves, each of which is looked at by itself."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What calls of a module and its loss move.

    Attributes:
        reason: why the gradient of a micro-batch depends on the calls before it; None where it does not.
        parts: the gradients of the micro-batches one after the other, with what the calls before have left; none where each call
            may give others.
        harmless: what is moved while no gradient depends on it, in words; the buffers of the module are not counted.
    """

    reason: Finding | None
    parts: list[Gradients]
    harmless: str = ""


def of_the_parts(reference: Reference, truth: Gradients, parts: list[Gradients]) -> Moved:
    """Call twice and compare: the whole batch with all state put back, and the micro-batches one after the other without."""
    window = reference.window
    if not _alike([reference.whole()], [truth]):
        what = (
            "with all state put back, a second call of module and loss gives another gradient, so that they keep "
            "something that is not to be seen; expected the same gradient at each call"
        )
        return Moved(Reason.STATEFUL.because(what=what), [])
    with window.running():
        running = window.parts()
    if _alike(running, parts):
        buffers = {f"module.{name}" for name, _ in window.module.named_buffers()}
        paths = [path for path in window.reached.moved() if path not in buffers]
        return Moved(None, parts, _few(paths) if paths else "")
    named = _named(reference, parts)
    what = f"each call of module and loss moves {named}, and the gradient of a micro-batch depends on it"
    return Moved(Reason.STATEFUL.because(what=what), running)


def of_the_loop(reference: Reference, closure: Closure, found: Gradients, tolerance: dict[str, float]) -> Finding | None:
    """Why a second call of a loop leaves another gradient, though `.grad` was empty before it; None where it does not."""
    window = reference.window
    window.run(closure)
    try:
        again = window.run_again(closure, clear=True)
    except InputError as error:
        return Reason.STATEFUL.because(what=f"a second call of the closure is not possible: {error}")
    if not all(torch.isfinite(gradient).all() for gradient in found.values()):  # which is told by itself
        return None
    if all(largest(again[name] - found[name]) <= 2 * tolerance[name] for name in found):
        return None
    moved = _few([path for path in window.reached.moved() if path.startswith("closure")] or window.reached.moved())
    if not any(gradient.any() for gradient in found.values()):
        what = (
            "gradients of an earlier window: the first call of the closure leaves nothing, and the second what the first "
            f"one found; it keeps them in {moved}"
        )
        return Reason.STATEFUL.because(what=what)
    if all(largest(again[name] - 2 * found[name]) <= 2 * tolerance[name] for name in found):
        what = (
            f"gradients of an earlier window are added to those of the next, though .grad was cleared: the closure keeps "
            f"them in {moved}"
        )
        return Reason.STATEFUL.because(what=what)
    what = f"a second call of the closure leaves another gradient, though .grad was cleared: it moves {moved}"
    return Reason.STATEFUL.because(what=what)


def _named(reference: Reference, parts: list[Gradients]) -> str:
    """What is moved and changes the gradient by itself; all that is moved, where nothing does."""
    window = reference.window
    first = next((m for m, part in enumerate(parts) if any(gradient.any() for gradient in part.values())), 0)

    def after_a_call() -> None:
        window.reset()
        with window.running():
            window.parts()

    after_a_call()
    moved = window.reached.moved()[:MOST]
    matters = []
    for path in moved:
        after_a_call()
        if not _alike([window.part(first, but=path)], [parts[first]]):
            matters.append(path)
    return _few(matters or moved)


def _few(paths: list[str]) -> str:
    shown = ", ".join(paths[:4]) + (", …" if len(paths) > 4 else "")
    return shown or "something that is not to be seen"


def _alike(one: list[Gradients], other: list[Gradients]) -> bool:
    return all(
        largest(a[name] - b[name]) <= SAME * max(largest(a[name]), largest(b[name]))
        for a, b in zip(one, other, strict=True)
        for name in a
    )
