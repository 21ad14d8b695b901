"""The error that rounding explains in the gradient of each parameter."""

import torch
from torch import Tensor

from nets.verification.accumulation.rounding.modes import RoundingExceptClones
from nets.verification.accumulation.window.weights import Gradients, Weights
from nets.verification.accumulation.window.whole_batch import WholeBatch
from nets.verification.accumulation.window.window import Closure, Window
from nets.verification.noise.rounding import ROUNDING_SAFETY, unit_roundoff
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

TOLERANCE_PASSES = 3
"""Runs with stochastic rounding. The noise of the gradient is the largest deviation in them."""


def whole_batch_tolerance(
    whole_batch: WholeBatch, truth: Gradients, parts: list[Gradients], weights: Weights
) -> dict[str, float]:
    """The error that rounding of the whole batch and of the sum of its micro-batches explains, for each parameter.

    Args:
        truth: ∂ℓ/∂θ of the whole batch.
        parts: G_m of each micro-batch.
        weights: w_m.
    """
    generator = stream(whole_batch.window.seed, "rounding of the whole batch")
    noise = dict.fromkeys(truth, 0.0)
    for _ in range(TOLERANCE_PASSES):
        with RoundingExceptClones(generator):
            again = whole_batch.gradient()
        noise = {name: max(noise[name], _change(again[name], gradient)) for name, gradient in truth.items()}
    unit, tiny = unit_roundoff(torch.float64), torch.finfo(torch.float64).tiny
    for name in truth:
        sizes = [abs(w) * largest(part[name]) for w, part in zip(weights.values or (), parts, strict=False)]
        noise[name] = max(noise[name], unit * sum(sizes), unit * largest(truth[name]), tiny)
    return {name: ROUNDING_SAFETY * found for name, found in noise.items()}


def loop_tolerance(window: Window, loop: Closure, found: Gradients) -> dict[str, float]:
    """The error that rounding of a loop explains, which may compute in less precision than the whole batch.

    Args:
        found: what the loop left.
    """
    noise = dict.fromkeys(found, 0.0)
    for number in range(TOLERANCE_PASSES):
        again = window.run_rounded(loop, f"rounding of the loop, pass {number}")
        noise = {name: max(noise[name], _change(again[name], gradient)) for name, gradient in found.items()}
    return {name: ROUNDING_SAFETY * size for name, size in noise.items()}


def _change(again: Tensor, exact: Tensor) -> float:
    return float(torch.nan_to_num((again - exact).abs()).max())
