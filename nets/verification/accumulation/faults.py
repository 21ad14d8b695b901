"""What a loop that accumulates a wrong gradient did instead: told by the coefficients of the micro-batches in what it left."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from nets.text import digits
from nets.verification.accumulation.clipping import clipping
from nets.verification.accumulation.patterns import hypotheses, leftover
from nets.verification.accumulation.reference import Reference
from nets.verification.accumulation.weighing import Weights, flat, weighted
from nets.verification.accumulation.window import Closure, Gradients, Window
from nets.verification.problem.randomness import stream

ALIKE = 1e-7
"""A gradient is what a fault predicts when it differs by less than this part of the largest entry."""

MOST = 64
"""Micro-batches whose coefficients are looked for one by one."""

HALF = 1e-4
"""The eps of a precision from which on a loss is said to be in half precision."""

NOTHING = 1e-9
"""A coefficient that is less than this part of the largest is zero but for rounding."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A gradient that is wrong.

    Attributes:
        found: what the loop left.
        truth: the gradient of the whole batch.
        parts: G_m, that of each micro-batch alone.
        weights: w_m, with which they make the whole.
        tolerance: what rounding explains, for each parameter.
        reference: the loss over all micro-batches.
        loop: what left it.
    """

    found: Gradients
    truth: Gradients
    parts: list[Gradients]
    weights: Weights
    tolerance: dict[str, float]
    reference: Reference
    loop: Closure

    @property
    def window(self) -> Window:
        return self.reference.window

    def like(self, other: Gradients) -> bool:
        """Whether this is what the loop left."""
        for name, gradient in self.found.items():
            slack = ALIKE * max(float(gradient.abs().max()), float(other[name].abs().max()))
            if not bool(((gradient - other[name]).abs() <= max(slack, self.tolerance[name])).all()):
                return False
        return True


def fault(evidence: Evidence) -> str:
    """What to say after 'wrong accumulation': how far off it is, and what it looks like."""
    reference, window, right = evidence.reference, evidence.window, evidence.weights.values
    if not all(torch.isfinite(gradient).all() for gradient in evidence.found.values()):
        return _not_finite(evidence)
    off = f", off by {_distance(evidence.found, evidence.truth)} of its norm"
    if not any(gradient.any() for gradient in evidence.found.values()):
        return f"{off}; {_nothing(window)}"
    besides = f"; besides, {statistics(window)}" if reference.depends else ""
    if right is not None and reference.depends and evidence.like(weighted(right, evidence.parts)):
        return f"{off}; {statistics(window)}; the loop itself is right"
    # A loss in half precision is off by more than what tells a sum from something else.
    coarse = window.loss_eps > HALF
    if not evidence.weights.separable and not reference.depends and not coarse:
        return f"{off}; the loss is no sum over the samples: what it says of one micro-batch depends on the others"
    if right is None:
        return f"{off}{besides}"
    if evidence.like(weighted(right, evidence.parts)):
        return f"{off}; rounding: what it looks like is the right sum in single precision"
    names = _named(evidence, list(right))
    if names:
        return f"{off}; it looks like {', or '.join(names[:3])}{besides}"
    ways: tuple[Callable[[Evidence], str], ...] = (_clipped, _factor, _coefficients, _missing, _earlier)
    return f"{off}{next(filter(None, (way(evidence) for way in ways)), '')}{besides}"


def mistake(evidence: Evidence) -> str:
    """The mistake whose coefficients, with the gradients of the micro-batches, give what the loop left; '' where none does, or
    where the gradients of the micro-batches are not known."""
    right = evidence.weights.values
    if right is None or not evidence.parts or not all(torch.isfinite(gradient).all() for gradient in evidence.found.values()):
        return ""
    return ", or ".join(_named(evidence, list(right))[:3])


def statistics(window: Window) -> str:
    """Why micro-batches cannot stand for the whole batch."""
    if window.normalises:
        return "BatchNorm statistics: each micro-batch is normalised by its own mean and variance, not by those of the whole batch"
    return "the output of a sample depends on the others in its batch, which are others in a micro-batch"


def as_sum(found: Gradients, parts: list[Gradients]) -> list[float] | None:
    """The coefficients c_m with Σ_m c_m G_m nearest to a gradient, 0 where G_m is; None where several sums are as near."""
    matrix = torch.stack([flat(part) for part in parts], 1)
    counted = [m for m, part in enumerate(matrix.T) if part.any()]
    if not counted or len(parts) > MOST or int(torch.linalg.matrix_rank(matrix[:, counted])) < len(counted):
        return None
    solution = torch.linalg.lstsq(matrix[:, counted], flat(found)[:, None], driver="gelsd").solution[:, 0].tolist()
    coefficients = [0.0] * len(parts)
    for m, value in zip(counted, solution, strict=True):
        coefficients[m] = value if abs(value) > NOTHING * max(map(abs, solution)) else 0.0
    return coefficients


def listed(weights: Iterable[float]) -> str:
    """Weights with four digits, the first six of them."""
    values = list(weights)
    largest_one = max(map(abs, values), default=0.0)
    shown = [f"{w if abs(w) > NOTHING * largest_one else 0.0:.4g}" for w in values[:6]]
    return ", ".join(shown) + (", …" if len(values) > 6 else "")


def _named(evidence: Evidence, right: list[float]) -> list[str]:
    """The mistakes whose coefficients give what the loop left."""
    sketch = _Sketch(evidence)
    for guesses in (hypotheses(right), leftover(right)):
        names = [
            name for name, c in guesses if sketch.allows(c) and not _same(c, right) and evidence.like(weighted(c, evidence.parts))
        ]
        if names:
            return list(dict.fromkeys(names))
    return []


class _Sketch:
    """Random signs, in which a sum that is not what the loop left is told from it without computing all of its entries."""

    def __init__(self, evidence: Evidence) -> None:
        found = flat(evidence.found)
        signs = torch.randn(4, len(found), generator=stream(evidence.window.seed, "sketch"), dtype=found.dtype).sign()
        self._found = signs @ found
        self._parts = torch.stack([signs @ flat(part) for part in evidence.parts], 1)
        self._slack = sum(
            2 * gradient.numel() * max(ALIKE * float(gradient.abs().max()), evidence.tolerance[name])
            for name, gradient in evidence.found.items()
        )

    def allows(self, coefficients: list[float]) -> bool:
        total = self._parts @ torch.tensor(coefficients, dtype=self._parts.dtype)
        return bool(((total - self._found).abs() <= self._slack).all())


def _same(one: list[float], other: list[float]) -> bool:
    return all(abs(a - b) <= ALIKE * max(abs(a), abs(b)) for a, b in zip(one, other, strict=True))


def _nothing(window: Window) -> str:
    hooked = [name for name, p in window.module.named_parameters() if p._post_accumulate_grad_hooks]
    if hooked:
        return (
            f"nothing is left in .grad: the post-accumulate-grad hook of {hooked[0]} runs after each micro-batch and takes it, "
            "as an optimizer in the backward pass does"
        )
    return "nothing is left in .grad: either no backward pass was made, or zero_grad came after it"


def _not_finite(evidence: Evidence) -> str:
    sizes = zip(evidence.window.sizes, evidence.weights.values or (), strict=False)
    nothing = [number for number, (size, weight) in enumerate(sizes, start=1) if size and not weight]
    if not nothing:
        return "; not finite"
    return f"; not finite: micro-batch {nothing[0]} has nothing in it that counts, so that its mean is 0/0: leave it out"


def _clipped(evidence: Evidence) -> str:
    found = clipping(evidence.found, evidence.parts, evidence.weights.values or (), evidence.like)
    return f"; it looks like {found}" if found else ""


def _factor(evidence: Evidence) -> str:
    """All of the right sum, times a number that means nothing yet."""
    right = weighted(evidence.weights.values or (), evidence.parts)
    one, other = flat(evidence.found), flat(right)
    factor = float(one @ other / (other @ other)) if other.any() else 0.0
    if not evidence.like({name: factor * gradient for name, gradient in right.items()}):
        return ""
    exponent = torch.tensor(abs(factor)).log2()
    scale = ", such as a loss scale that is not undone" if exponent >= 4 and exponent == exponent.round() else ""
    return f"; it looks like a constant factor {digits(factor)}{scale}"


def _coefficients(evidence: Evidence) -> str:
    """Which sum of the micro-batches it is, where it is one."""
    solution = as_sum(evidence.found, evidence.parts)
    if solution is None or not evidence.like(weighted(solution, evidence.parts)):
        return ""
    return f"; its micro-batches weigh {listed(solution)} where {listed(evidence.weights.values or ())} is right"


def _missing(evidence: Evidence) -> str:
    """Parameters that nothing arrives at, while the others are right."""
    zero = [n for n, g in evidence.found.items() if not g.any() and evidence.truth[n].abs().max() > evidence.tolerance[n]]
    return f"; nothing arrives at {', '.join(itertools.islice(zero, 4))}" if zero else ""


def _earlier(evidence: Evidence) -> str:
    """What the loop leaves where the loss is zero does not come through the loss."""
    left = evidence.reference.without_the_loss(evidence.loop)
    if left is None or not any(gradient.any() for gradient in left.values()):
        return ""
    own = {name: gradient - left[name] for name, gradient in evidence.found.items()}
    rest = "" if replace(evidence, found=own).like(evidence.truth) else ", and what this window adds is wrong, too"
    sources = "gradients of an earlier window, weight decay, noise, or a loss of the loop's own"
    return f"; the loop leaves gradients even where the loss that was given is zero: {sources}{rest}"


def _distance(found: Gradients, truth: Gradients) -> str:
    """‖found − truth‖ / ‖truth‖ in per cent."""
    share = 100 * float((flat(found) - flat(truth)).norm() / flat(truth).norm())
    return f"{share:,.0f} %" if share >= 10 else f"{share:.2g} %"
