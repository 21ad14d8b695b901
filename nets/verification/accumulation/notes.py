"""The notes on a certificate of an accumulation: how the micro-batches were treated, and what else a reader must
know."""

from nets.verification.accumulation.faults.evidence import coefficients_text
from nets.verification.accumulation.window.weights import Gradients, Weights
from nets.verification.accumulation.window.whole_batch import WholeBatch
from nets.verification.accumulation.window.window import Closure
from nets.verification.problem.pytree import largest


def notes(
    whole_batch: WholeBatch,
    weights: Weights,
    harmless: str,
    closure: Closure | None,
    found: Gradients,
    tolerance: dict[str, float],
) -> tuple[str, ...]:
    """The notes.

    Args:
        weights: w_m.
        harmless: the state that calls change while no gradient depends on it; '' for none.
        closure: the caller's loop; None for the one that was made.
        found: what the loop left.
        tolerance: the error that rounding explains, for each parameter.
    """
    window, written = whole_batch.window, list[str]()
    if weights.values and weights.separable:
        sizes = ", ".join([str(size) for size in window.sizes[:6]] + ["…"] * (len(window.sizes) > 6))
        values = coefficients_text(weights.values)
        written.append(f"micro-batches of {sizes} samples weigh {values} in the loss over all of them")
    if whole_batch.obstacle:
        why = f"the micro-batches were not concatenated ({whole_batch.obstacle})"
        written.append(f"{why}: the loss is taken over the outputs of each alone")
    if whole_batch.relabelled:
        written.append(
            "integer inputs only name groups of samples: in the whole batch, each micro-batch got names of its own"
        )
    if whole_batch.loss_draws.any:
        replayed = whole_batch.loss_draws.replayed
        whose = "the whole batch draws those of its micro-batches" if replayed else "each micro-batch draws its own"
        written.append(f"the loss draws random numbers, the same ones at each call with the same target; {whose}")
    if harmless:
        written.append(f"calls of module and loss change {harmless}; no gradient of this window depends on it")
    if closure is not None and _adds_to_what_it_finds(whole_batch, closure, found, tolerance):
        written.append("a second window is added to the first: call zero_grad between them")
    return tuple(written)


def _adds_to_what_it_finds(
    whole_batch: WholeBatch, closure: Closure, found: Gradients, tolerance: dict[str, float]
) -> bool:
    """Whether a second call of the loop doubles `.grad`."""
    window = whole_batch.window
    window.run(closure)
    twice = window.run_again(closure, clear=False)
    return any(largest(twice[name] - 2 * found[name]) <= 2 * tolerance[name] < largest(found[name]) for name in found)
