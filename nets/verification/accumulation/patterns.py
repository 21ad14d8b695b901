"""The coefficients that known mistakes give to the micro-batches of a window."""

from collections.abc import Iterator

FULL = 64
"""Micro-batches of a full window, at most, for which a last one may be mistaken."""


def hypotheses(w: list[float]) -> Iterator[tuple[str, list[float]]]:
    """(what was done, the coefficient c_m of each micro-batch), the plainest first."""
    count, counted = len(w), [m for m, weight in enumerate(w) if weight]
    for k in dict.fromkeys((count, len(counted))):
        times = f"× {k}: a sum over {k} micro-batches (or ranks) where their mean is right"
        yield times, [k * x for x in w]
        yield times, [1.0] * count
        means = f"a mean of means: each of {k} micro-batches (or ranks) weighs 1/{k}, whatever its share"
        yield means, [1 / k] * count
        yield f"÷ {k}: the sum of the right shares is divided by the {k} micro-batches once more", [x / k for x in w]
        yield f"scaled twice: divided by {k} micro-batches, and again", [1 / k**2] * count
    yield "scaled twice: each micro-batch by its share, and again", [x * x for x in w]
    yield "× 2: backward runs twice", [2 * x for x in w]
    yield "× 2: backward runs twice, over a mean of means", [2 / count] * count
    yield from _unscaled(w)
    yield from _left_out(w)
    yield from _ranks(w)
    yield from _one_rank(w)


def _unscaled(w: list[float]) -> Iterator[tuple[str, list[float]]]:
    """What stands in .grad is divided by a loss scale after each micro-batch, and so are the earlier ones, again and again."""
    for scale in (2.0**k for k in range(1, 25)):
        what = f"divided by the loss scale {scale:.0f} after each micro-batch: divide once, after the last"
        yield what, [x / scale ** (len(w) - 1 - m) for m, x in enumerate(w)]


def leftover(w: list[float]) -> Iterator[tuple[str, list[float]]]:
    """The micro-batches of a last, incomplete window, divided by the number of those in a full one."""
    count = len(w)
    for kept in range(count, 0, -1):
        share = sum(w[-kept:]) or 1.0
        for full in range(kept + 1, FULL + 1):
            what = f"leftover micro-batches divided by {full}: there are {kept}"
            for own in ([1 / full] * kept, [x / share * kept / full for x in w[-kept:]]):
                yield what, [*[0.0] * (count - kept), *own]


def _left_out(w: list[float]) -> Iterator[tuple[str, list[float]]]:
    count = len(w)
    equal = [1 / count] * count
    for kept in range(count - 1, 0, -1):
        first, last = _numbers(1, kept), _numbers(count - kept + 1, count)
        lost = f"the last window lost: {_numbers(kept + 1, count)} left out"
        cleared = f"zero_grad inside the window: only {last} left"
        share, later = sum(w[:kept]) or 1.0, sum(w[-kept:]) or 1.0
        for c in (w, equal, [x / share for x in w], [1 / kept] * count):
            yield lost, [*c[:kept], *[0.0] * (count - kept)]
        for c in (w, equal, [x / later for x in w], [1.0] * count):
            yield cleared, [*[0.0] * (count - kept), *c[-kept:]]
        for c in ([count * x for x in w], [1.0] * count):
            yield f"only {first}, and not divided", [*c[:kept], *[0.0] * (count - kept)]
    for one in range(1, count - 1):
        yield f"micro-batch {one + 1} left out", [*w[:one], 0.0, *w[one + 1 :]]


def _ranks(w: list[float]) -> Iterator[tuple[str, list[float]]]:
    count = len(w)
    for ranks in range(2, count):
        total = f"× {ranks}: a sum over {ranks} ranks where their mean is right"
        yield total, [ranks * x for x in w]
        size = -(-count // ranks)
        for rank_of in ([m % ranks for m in range(count)], [m // size for m in range(count)]):
            shares = [sum(x for x, r in zip(w, rank_of, strict=True) if r == rank) for rank in range(ranks)]
            own = [x / shares[r] if shares[r] else 0.0 for x, r in zip(w, rank_of, strict=True)]
            yield f"a sum over {ranks} ranks, each with the mean of its own samples", own
            yield f"a mean over {ranks} ranks, whatever the share of their samples", [x / ranks for x in own]


def _one_rank(w: list[float]) -> Iterator[tuple[str, list[float]]]:
    count = len(w)
    for ranks in range(2, count + 1):
        size = -(-count // ranks)
        for rank_of in ([m % ranks for m in range(count)], [m // size for m in range(count)]):
            for rank in range(ranks):
                own = [m for m in range(count) if rank_of[m] == rank]
                share = sum(w[m] for m in own)
                # One micro-batch alone is a rank's share where each rank has one.
                if not share or (len(own) == 1 and ranks < count):
                    continue
                name = f"never summed over ranks: only the micro-batches of one of {ranks} ranks ({_listed(own)})"
                for each in ([w[m] / share for m in own], [w[m] for m in own], [1 / len(own)] * len(own), [1.0] * len(own)):
                    coefficients = [0.0] * count
                    for m, weight in zip(own, each, strict=True):
                        coefficients[m] = weight
                    yield name, coefficients


def _listed(numbers: list[int]) -> str:
    shown = [str(m + 1) for m in numbers[:4]] + ["…"] * (len(numbers) > 4)
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _numbers(first: int, last: int) -> str:
    if first == last:
        return f"micro-batch {first} is"
    return f"micro-batches {first} {'and' if last == first + 1 else 'to'} {last} are"
