"""Faults of the gradients of one step: a sentence for each, with its number and its parameter.

A fault is found in the Step record: the loss, the gradient norms and the update ratios. The order of its parameters is
taken as their order in the network, from input to output, and 'a.b.weight' as a parameter of the layer 'a.b'. A
Snapshot of the layers shows where the fault begins, and its cause.

The gradient of a bias shows what arrives at its layer, since ∂ℓ/∂B = Σ_n δ_n, but it is never called too small: before
a normalisation, for example, its true gradient is zero.
"""

import math
from collections.abc import Mapping

from nets.records.layer_statistics import Snapshot
from nets.records.step import Step
from nets.telemetry.diagnosis import sentences
from nets.telemetry.diagnosis.attenuation import dead, first_not_finite, passage, saturated, saturated_softmax
from nets.telemetry.diagnosis.sentences import GradientFault
from nets.telemetry.diagnosis.thresholds import LAYER_FACTOR, UPDATE_RATIO


def diagnose(step: Step, snapshot: Snapshot | None = None) -> dict[GradientFault, str]:
    """Fault → sentence; empty where the gradients are healthy.

    If some numbers are not finite, all others are meaningless, and this is the only fault.

    Args:
        step: the record of a step.
        snapshot: the layers at about that step. With it, each sentence says in which layer the fault begins and by
            what, and saturated and dead layers are found.
    """
    broken = not_finite(step, snapshot)
    if broken is not None:
        return {GradientFault.NOT_FINITE: broken}
    local = (
        {}
        if snapshot is None
        else {
            GradientFault.SATURATED: saturated(snapshot) or saturated_softmax(snapshot),
            GradientFault.DEAD: dead(snapshot),
        }
    )
    # A layer that is named as saturated or dead is not named again as the reason of another fault.
    rest = None if any(local.values()) else snapshot
    found = {**local, GradientFault.VANISHING: vanishing(step, rest), GradientFault.EXPLODING: exploding(step, rest)}
    return {fault: sentence for fault, sentence in found.items() if sentence is not None}


def not_finite(step: Step, snapshot: Snapshot | None = None) -> str | None:
    """The loss, a gradient norm or the total is NaN or infinite.

    An infinite update ratio alone is no fault: a parameter that starts at zero has it.
    """
    broken = _not_finite(step)
    return None if broken is None else _with(broken, None if snapshot is None else first_not_finite(snapshot))


def _not_finite(step: Step) -> str | None:
    broken = {name: norm for name, norm in step.gradient_norm.items() if not math.isfinite(norm)}
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        name, norm = next(iter(broken.items()))
        return sentences.NOT_FINITE_NORM.format(name=name, more=more, norm=norm, step=step.step, loss=step.loss)
    if not math.isfinite(step.loss):
        return sentences.NOT_FINITE_LOSS.format(loss=step.loss, step=step.step)
    if not math.isfinite(step.total_gradient_norm):
        return sentences.NOT_FINITE_TOTAL.format(total=step.total_gradient_norm, step=step.step)
    lost = [name for name, ratio in step.update_ratio.items() if math.isnan(ratio)]
    return sentences.NOT_FINITE_UPDATE.format(name=lost[0], step=step.step) if lost else None


def vanishing(step: Step, snapshot: Snapshot | None = None) -> str | None:
    """A weight has a gradient at least LAYER_FACTOR times smaller than a later layer's, or none at all.

    Gradients that are all small are no fault: a minimum looks like that. Nor is a gradient of zero behind a weight that
    starts at zero and is about to leave it.
    """
    if step.gradient_norm and step.total_gradient_norm == 0 and step.loss > 0:
        return sentences.ALL_ZERO.format(loss=step.loss, step=step.step)
    gap = _widest_gap(_layers(step.gradient_norm)[::-1])
    if gap is None:
        return None
    (late, large), (early, small) = gap
    weights = _weights(step.gradient_norm)
    if small == 0 and any(math.isinf(step.update_ratio[name]) and norm for name, norm in weights.items()):
        return None
    if small > 0:
        factor = _factor(large, small)
        sentence = sentences.SMALL.format(early=early, small=small, factor=factor, late=late, step=step.step)
    else:
        sentence = sentences.ZERO.format(early=early, late=late, large=large, step=step.step)
    return _with(sentence, _passage(snapshot, early, late, grows=False))


def exploding(step: Step, snapshot: Snapshot | None = None) -> str | None:
    """An update is UPDATE_RATIO times as long as its weight, or a weight has a gradient LAYER_FACTOR times a later
    weight's.

    Weights alone are compared: a bias beside a weight that gets little input has a large gradient, and nothing grows.
    """
    ratios = {name: ratio for name, ratio in _weights(step.update_ratio).items() if math.isfinite(ratio)}
    longest = max(ratios, key=ratios.__getitem__, default=None)
    if longest is not None and ratios[longest] >= UPDATE_RATIO:
        norm = step.gradient_norm.get(longest, math.nan)
        sentence = sentences.LONG_UPDATE.format(name=longest, ratio=ratios[longest], norm=norm, step=step.step)
        return _with(sentence, _passage(snapshot, longest, list(step.gradient_norm)[-1], grows=True))
    gap = _widest_gap(_layers(_weights(step.gradient_norm)))
    if gap is None or gap[1][1] == 0:  # if a later layer has no gradient, it did not grow in an earlier one
        return None
    (early, large), (late, small) = gap
    factor = _factor(large, small)
    sentence = sentences.LARGE.format(early=early, large=large, factor=factor, late=late, step=step.step)
    return _with(sentence, _passage(snapshot, early, late, grows=True))


def _passage(snapshot: Snapshot | None, early: str, late: str, *, grows: bool) -> str:
    """How the gradient changed between the layers of two parameters."""
    if snapshot is None:
        return ""
    return passage(snapshot, early.rpartition(".")[0], late.rpartition(".")[0], grows=grows)


def _with(sentence: str, reason: str | None) -> str:
    return f"{sentence} {reason}" if reason else sentence


def _weights(numbers: Mapping[str, float]) -> dict[str, float]:
    """The numbers of all parameters but biases."""
    return {name: number for name, number in numbers.items() if name.rpartition(".")[2] != "bias"}


def _layers(norms: Mapping[str, float]) -> list[dict[str, float]]:
    """The norms of each layer, from input to output."""
    layers: dict[str, dict[str, float]] = {}
    for name, norm in norms.items():
        module, _, leaf = name.rpartition(".")
        layers.setdefault(module or leaf, {})[name] = norm
    return list(layers.values())


def _widest_gap(layers: list[dict[str, float]]) -> tuple[tuple[str, float], tuple[str, float]] | None:
    """The largest norm and, in a later layer of the list, the weight whose norm is smallest compared with it.

    None where no ratio of two such norms reaches LAYER_FACTOR.
    """
    widest, found = 0.0, None
    largest = ("", 0.0)
    for layer in layers:
        for name, norm in _weights(layer).items():
            ratio = largest[1] / norm if norm > 0 else math.inf
            if largest[1] > 0 and ratio >= LAYER_FACTOR and ratio > widest:
                widest, found = ratio, (largest, (name, norm))
        largest = max(largest, *layer.items(), key=lambda item: item[1])
    return found


def _factor(large: float, small: float) -> str:
    """A ratio: 1,234 or 2.0e+06."""
    ratio = large / small
    return f"{ratio:,.0f}" if ratio < 1e5 else f"{ratio:.1e}"
