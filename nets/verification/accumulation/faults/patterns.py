"""The coefficients that known mistakes give to the micro-batches of a window."""

from collections.abc import Iterator
from typing import TypeAlias

from nets.records.loop_reason import LoopReason
from nets.records.reason import Finding

LARGEST_WINDOW = 64
"""The largest full window that an incomplete last window is compared with, in micro-batches."""

Pattern: TypeAlias = tuple[Finding, list[float]]
"""A mistake, and the coefficient c_m that it gives to each micro-batch: it leaves Σ_m c_m ∂ℓ_m/∂θ."""


def patterns(w: list[float]) -> Iterator[Pattern]:
    """Mistakes in a complete window, the simplest first.

    Args:
        w: w_m, the right weight of each micro-batch.
    """
    count, counted = len(w), [m for m, weight in enumerate(w) if weight]
    for k in dict.fromkeys((count, len(counted))):
        times = LoopReason.SUM_FOR_MEAN.because(count=k, what="micro-batches (or ranks)")
        yield times, [k * x for x in w]
        yield times, [1.0] * count
        means = LoopReason.MEAN_OF_MEANS.because(count=k)
        yield means, [1 / k] * count
        yield LoopReason.DIVIDED_AGAIN.because(count=k), [x / k for x in w]
        yield LoopReason.SCALED_TWICE.because(how=f"divided by {k} micro-batches"), [1 / k**2] * count
    yield LoopReason.SCALED_TWICE.because(how="each micro-batch by its share"), [x * x for x in w]
    yield LoopReason.BACKWARD_TWICE.because(over=""), [2 * x for x in w]
    yield LoopReason.BACKWARD_TWICE.because(over=", over a mean of means"), [2 / count] * count
    yield from _unscaled(w)
    yield from _left_out(w)
    yield from _reduced_wrongly(w)
    yield from _one_rank(w)


def leftover_patterns(w: list[float]) -> Iterator[Pattern]:
    """Mistakes in an incomplete last window: its micro-batches are divided by the number in a full window."""
    count = len(w)
    for kept in range(count, 0, -1):
        share = sum(w[-kept:]) or 1.0
        for full in range(kept + 1, LARGEST_WINDOW + 1):
            mistake = LoopReason.LEFTOVER.because(full=full, kept=kept)
            for own in ([1 / full] * kept, [x / share * kept / full for x in w[-kept:]]):
                yield mistake, [*[0.0] * (count - kept), *own]


def _unscaled(w: list[float]) -> Iterator[Pattern]:
    """`.grad` is divided by a loss scale after each micro-batch, so that earlier micro-batches are divided several
    times."""
    for scale in (2.0**k for k in range(1, 25)):
        yield (
            LoopReason.UNSCALED_EACH_TIME.because(scale=scale),
            [x / scale ** (len(w) - 1 - m) for m, x in enumerate(w)],
        )


def _left_out(w: list[float]) -> Iterator[Pattern]:
    count = len(w)
    equal = [1 / count] * count
    for kept in range(count - 1, 0, -1):
        first, last = _range(1, kept), _range(count - kept + 1, count)
        lost = LoopReason.WINDOW_LOST.because(lost=_range(kept + 1, count))
        cleared = LoopReason.CLEARED_INSIDE.because(kept=last)
        share, later = sum(w[:kept]) or 1.0, sum(w[-kept:]) or 1.0
        for c in (w, equal, [x / share for x in w], [1 / kept] * count):
            yield lost, [*c[:kept], *[0.0] * (count - kept)]
        for c in (w, equal, [x / later for x in w], [1.0] * count):
            yield cleared, [*[0.0] * (count - kept), *c[-kept:]]
        for c in ([count * x for x in w], [1.0] * count):
            yield LoopReason.PART_NOT_DIVIDED.because(kept=first), [*c[:kept], *[0.0] * (count - kept)]
    for one in range(1, count - 1):
        yield LoopReason.LEFT_OUT.because(number=one + 1), [*w[:one], 0.0, *w[one + 1 :]]


def _reduced_wrongly(w: list[float]) -> Iterator[Pattern]:
    """The gradients of several ranks are reduced to one in a wrong way."""
    for ranks in range(2, len(w)):
        yield LoopReason.SUM_FOR_MEAN.because(count=ranks, what="ranks"), [ranks * x for x in w]
        for rank_of in _shardings(len(w), ranks):
            shares = [sum(x for x, r in zip(w, rank_of, strict=True) if r == rank) for rank in range(ranks)]
            own = [x / shares[r] if shares[r] else 0.0 for x, r in zip(w, rank_of, strict=True)]
            yield LoopReason.SUM_OVER_RANKS.because(ranks=ranks), own
            yield LoopReason.MEAN_OVER_RANKS.because(ranks=ranks), [x / ranks for x in own]


def _one_rank(w: list[float]) -> Iterator[Pattern]:
    """The gradients of several ranks are never reduced to one."""
    count = len(w)
    for ranks in range(2, count + 1):
        for rank_of in _shardings(count, ranks):
            for rank in range(ranks):
                own = [m for m in range(count) if rank_of[m] == rank]
                share = sum(w[m] for m in own)
                # A single micro-batch is the shard of a rank only if each rank has one.
                if not share or (len(own) == 1 and ranks < count):
                    continue
                mistake = LoopReason.ONE_RANK.because(ranks=ranks, own=_enumerated(own))
                for each in (
                    [w[m] / share for m in own],
                    [w[m] for m in own],
                    [1 / len(own)] * len(own),
                    [1.0] * len(own),
                ):
                    coefficients = [0.0] * count
                    for m, weight in zip(own, each, strict=True):
                        coefficients[m] = weight
                    yield mistake, coefficients


def _shardings(count: int, ranks: int) -> tuple[list[int], list[int]]:
    """The rank of each micro-batch, if micro-batches go to the ranks in turn, and if each rank has consecutive ones."""
    size = -(-count // ranks)
    return [m % ranks for m in range(count)], [m // size for m in range(count)]


def _enumerated(indices: list[int]) -> str:
    """The numbers of these micro-batches, the first four of them."""
    shown = [str(m + 1) for m in indices[:4]] + ["…"] * (len(indices) > 4)
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _range(first: int, last: int) -> str:
    """'micro-batch 3 is', or 'micro-batches 3 to 5 are'."""
    if first == last:
        return f"micro-batch {first} is"
    return f"micro-batches {first} {'and' if last == first + 1 else 'to'} {last} are"
