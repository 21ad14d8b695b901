"""What a loop that accumulates a wrong gradient did instead: told by the coefficients of the micro-batches in what it left."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.verification.window import Gradients, Window
from nets.verification.wording import digits

ALIKE = 1e-7
"""A gradient is what a fault predicts when it differs by less than this part of the largest entry."""

MOST = 64
"""Micro-batches whose coefficients are looked for one by one."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A gradient that is wrong.

    Attributes:
        found: what the loop left.
        truth: the gradient of the whole batch.
        parts: G_m, that of each micro-batch alone.
        weights: w_m, with which they make the whole.
        tolerance: what rounding explains, for each parameter.
        window: the micro-batches.
    """

    found: Gradients
    truth: Gradients
    parts: list[Gradients]
    weights: tuple[float, ...]
    tolerance: dict[str, float]
    window: Window

    def sum(self, coefficients: list[float]) -> Gradients:
        """Σ_m c_m G_m."""
        return {
            name: sum((c * part[name] for c, part in zip(coefficients, self.parts, strict=True)), torch.zeros_like(gradient))
            for name, gradient in self.truth.items()
        }

    def like(self, other: Gradients) -> bool:
        """Whether this is what the loop left."""
        for name, gradient in self.found.items():
            slack = ALIKE * max(float(gradient.abs().max()), float(other[name].abs().max()))
            if not bool(((gradient - other[name]).abs() <= max(slack, self.tolerance[name])).all()):
                return False
        return True


def fault(evidence: Evidence) -> str:
    """What to say after 'wrong accumulation': how far off it is, and what it looks like."""
    window = evidence.window
    if not all(torch.isfinite(gradient).all() for gradient in evidence.found.values()):
        return _not_finite(evidence)
    off = f", off by {_distance(evidence.found, evidence.truth)} of its norm"
    right = list(evidence.weights)
    if not any(gradient.any() for gradient in evidence.found.values()):
        return f"{off}; nothing is left in .grad: either no backward pass was made, or zero_grad came after it"
    besides = ""
    if window.depends and evidence.like(evidence.sum(right)):
        return f"{off}; {_statistics(window)}; the loop itself is right"
    if window.depends:
        besides = f"; besides, {_statistics(window)}"
    if not window.separable and not window.depends:
        return f"{off}; the loss is no sum over the samples: what it says of one micro-batch depends on the others"
    if evidence.like(evidence.sum(right)):
        return f"{off}; rounding: what it looks like is the right sum in single precision"
    names = list(dict.fromkeys(name for name, c in _hypotheses(right) if not _same(c, right) and evidence.like(evidence.sum(c))))
    if names:
        return f"{off}; it looks like {', or '.join(names[:3])}{besides}"
    return f"{off}{_factor(evidence) or _coefficients(evidence) or _missing(evidence)}{besides}"


def _hypotheses(w: list[float]) -> Iterator[tuple[str, list[float]]]:
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
    yield from _left_out(w)
    yield from _ranks(w)


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


def _numbers(first: int, last: int) -> str:
    if first == last:
        return f"micro-batch {first} is"
    return f"micro-batches {first} {'and' if last == first + 1 else 'to'} {last} are"


def _same(one: list[float], other: list[float]) -> bool:
    return all(abs(a - b) <= ALIKE * max(abs(a), abs(b)) for a, b in zip(one, other, strict=True))


def _not_finite(evidence: Evidence) -> str:
    sizes = zip(evidence.window.sizes, evidence.weights, strict=True)
    nothing = [number for number, (size, weight) in enumerate(sizes, start=1) if size and not weight]
    if not nothing:
        return "; not finite"
    return f"; not finite: micro-batch {nothing[0]} has nothing in it that counts, so that its mean is 0/0: leave it out"


def _statistics(window: Window) -> str:
    if window.normalises:
        return "BatchNorm statistics: each micro-batch is normalised by its own mean and variance, not by those of the whole batch"
    return "the output of a sample depends on the others in its batch, which are others in a micro-batch"


def _factor(evidence: Evidence) -> str:
    """All of the right sum, times a number that means nothing yet."""
    pairs = list(zip(evidence.found.values(), evidence.sum(list(evidence.weights)).values(), strict=True))
    square = sum(float(right.square().sum()) for _, right in pairs)
    factor = sum(float((found * right).sum()) for found, right in pairs) / square if square else 0.0
    if not evidence.like({name: factor * right for name, (_, right) in zip(evidence.found, pairs, strict=True)}):
        return ""
    exponent = torch.tensor(abs(factor)).log2()
    scale = ", such as a loss scale that is not undone" if exponent >= 4 and exponent == exponent.round() else ""
    return f"; it looks like a constant factor {digits(factor)}{scale}"


def _coefficients(evidence: Evidence) -> str:
    """Which sum of the micro-batches it is, where it is one."""
    if len(evidence.parts) > MOST:
        return ""
    matrix = torch.stack([_flat(part) for part in evidence.parts], 1)
    solution = torch.linalg.lstsq(matrix, _flat(evidence.found)[:, None], driver="gelsd").solution[:, 0].tolist()
    counted = sum(bool(part.any()) for part in matrix.T)
    if int(torch.linalg.matrix_rank(matrix)) < counted or not evidence.like(evidence.sum(solution)):
        return ""
    few = slice(0, 6)
    more = ", …" if len(solution) > 6 else ""
    shown = (", ".join(f"{x:.4g}" for x in numbers[few]) + more for numbers in (solution, list(evidence.weights)))
    return "; its micro-batches weigh {} where {} is right".format(*shown)


def _missing(evidence: Evidence) -> str:
    """Parameters that nothing arrives at, while the others are right."""
    zero = [n for n, g in evidence.found.items() if not g.any() and evidence.truth[n].abs().max() > evidence.tolerance[n]]
    return f"; nothing arrives at {', '.join(itertools.islice(zero, 4))}" if zero else ""


def _flat(gradients: Gradients) -> Tensor:
    return torch.cat([gradient.reshape(-1) for gradient in gradients.values()])


def _distance(found: Gradients, truth: Gradients) -> str:
    """‖found − truth‖ / ‖truth‖ in per cent."""
    share = 100 * float((_flat(found) - _flat(truth)).norm() / _flat(truth).norm())
    return f"{share:,.0f} %" if share >= 10 else f"{share:.2g} %"
