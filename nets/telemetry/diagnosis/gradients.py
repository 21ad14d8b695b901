"""What is wrong with the gradients of one step, in a sentence with its number and its parameter.

What is wrong is read from the Step record: the loss, the gradient norms and the update ratios. The order of the
parameters in it is taken as their order in the network, from input to output, and 'a.b.weight' as a parameter
of the layer 'a.b'. Where in the network it comes from, and by what, is read from the Flow of a look at its layers.

A bias serves as the measure of what arrives at its layer, since ∂ℓ/∂B = Σ_n δ_n, but is never itself called too
small: before a normalisation, for one, its true gradient is zero.
"""

import math
from collections.abc import Mapping

from nets.records.layer_statistics import Flow
from nets.records.step import Step
from nets.telemetry.diagnosis.attenuation import dead, first_lost, passage, saturated

#: In networks that train, norms of the weights' gradients lie within two orders of magnitude of each other
#: (measured: a factor of at most 20 in 11 digit classifiers of 1 to 20 layers). A healthy step changes a weight
#: by about 1e-3 of itself; with a gradient 10⁴ times smaller that is 1e-7, about the 6e-8 (2⁻²⁴) at which
#: float32 rounds the change away. 10³ speaks just before that point.
LAYER_FACTOR = 1e3

#: An update ten times as long as the parameter leaves nothing of what was learnt. Ratios of about one are usual
#: after a start at zero, where the first update is the whole parameter.
UPDATE_RATIO = 10.0


def diagnose(step: Step, flow: Flow | None = None) -> tuple[str, ...]:
    """Every sentence that there is reason for; none where the gradients are healthy.

    What is not finite makes the rest meaningless, and is then the only sentence.

    Args:
        step: the record of a step.
        flow: a look at the layers at about that step; with it, each sentence says in which layer the fault begins and by what, and
            saturated and dead layers are found.
    """
    broken = not_finite(step, flow)
    if broken is not None:
        return (broken,)
    local = [sentence for look in (saturated, dead) if flow is not None and (sentence := look(flow)) is not None]
    # A layer that is named there needs no naming as a reason.
    rest = flow if not local else None
    return tuple(sentence for sentence in (*local, vanishing(step, rest), exploding(step, rest)) if sentence is not None)


def not_finite(step: Step, flow: Flow | None = None) -> str | None:
    """The loss, a gradient norm or the total is NaN or infinite.

    An infinite update ratio alone is no fault: it is what a parameter that starts at zero has.
    """
    broken = _not_finite(step)
    return None if broken is None else _with(broken, None if flow is None else first_lost(flow))


def _not_finite(step: Step) -> str | None:
    where = f"at step {step.step}"
    broken = [name for name, norm in step.gradient_norm.items() if not math.isfinite(norm)]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        norm = step.gradient_norm[broken[0]]
        return f"not finite: ‖∂ℓ/∂θ‖ of {broken[0]}{more} is {norm} {where}, the loss is {step.loss:.4g}."
    if not math.isfinite(step.loss):
        return f"not finite: the loss is {step.loss} {where}, though every gradient norm is finite."
    if not math.isfinite(step.total_gradient_norm):
        total = step.total_gradient_norm
        return f"not finite: the total gradient norm is {total} {where}, though that of each parameter is finite."
    lost = [name for name, ratio in step.update_ratio.items() if math.isnan(ratio)]
    if lost:
        return f"not finite: the update of {lost[0]} is NaN {where}, though its gradient is finite."
    return None


def vanishing(step: Step, flow: Flow | None = None) -> str | None:
    """A weight has a gradient at least 1,000 times smaller than that of a later layer, or none at all.

    Every gradient small at once is no fault: that is what a minimum looks like. Nor is a gradient of zero
    behind a weight that starts at zero and is about to leave it.
    """
    if step.gradient_norm and step.total_gradient_norm == 0 and step.loss > 0:
        return f"gradients vanish: every gradient is exactly 0, so the loss stays at {step.loss:.4g} (step {step.step})."
    gap = _widest_gap(_layers(step.gradient_norm)[::-1])
    if gap is None:
        return None
    (late, large), (early, small) = gap
    if small > 0:
        how = f"is {small:.2g}, {_factor(large, small)} times smaller than that of {late}: it hardly learns"
    elif any(math.isinf(step.update_ratio.get(name, 0)) and norm for name, norm in _weights(step.gradient_norm).items()):
        return None
    else:
        how = f"is exactly 0, while that of {late} is {large:.2g}: it does not learn at all"
    return _with(f"gradients vanish: ‖∂ℓ/∂θ‖ of {early} {how} (step {step.step}).", _passage(flow, early, late, grows=False))


def exploding(step: Step, flow: Flow | None = None) -> str | None:
    """An update is ten times as long as its weight, or a weight has a gradient 1,000 times that of a later weight.

    Weights alone are compared here: a bias beside a weight that gets little input has a large gradient, and
    nothing grows.
    """
    ratios = {name: ratio for name, ratio in _weights(step.update_ratio).items() if math.isfinite(ratio)}
    longest = max(ratios, key=ratios.__getitem__, default=None)
    if longest is not None and ratios[longest] >= UPDATE_RATIO:
        norm = step.gradient_norm.get(longest, math.nan)
        sentence = (
            f"gradients explode: the update of {longest} is {ratios[longest]:.2g} times as long as {longest} itself, "
            f"with ‖∂ℓ/∂θ‖ = {norm:.2g} (step {step.step})."
        )
        return _with(sentence, _passage(flow, longest, list(step.gradient_norm)[-1], grows=True))
    gap = _widest_gap(_layers(_weights(step.gradient_norm)))
    if gap is None or gap[1][1] == 0:  # no gradient at all in a later layer is no growth in an earlier one
        return None
    (early, large), (late, small) = gap
    sentence = (
        f"gradients explode: ‖∂ℓ/∂θ‖ of {early} is {large:.2g}, {_factor(large, small)} times larger than that of "
        f"{late}: it grows on its way back to the input (step {step.step})."
    )
    return _with(sentence, _passage(flow, early, late, grows=True))


def _passage(flow: Flow | None, early: str, late: str, *, grows: bool) -> str:
    """What happened between the layers of two parameters."""
    return "" if flow is None else passage(flow, early.rpartition(".")[0], late.rpartition(".")[0], grows=grows)


def _with(sentence: str, reason: str | None) -> str:
    return f"{sentence} {reason}" if reason else sentence


def _weights(numbers: Mapping[str, float]) -> dict[str, float]:
    """Those of the parameters that are no bias."""
    return {name: number for name, number in numbers.items() if name.rpartition(".")[2] != "bias"}


def _layers(norms: Mapping[str, float]) -> list[dict[str, float]]:
    """The norms of each layer, from input to output."""
    layers: dict[str, dict[str, float]] = {}
    for name, norm in norms.items():
        module, _, leaf = name.rpartition(".")
        layers.setdefault(module or leaf, {})[name] = norm
    return list(layers.values())


def _widest_gap(layers: list[dict[str, float]]) -> tuple[tuple[str, float], tuple[str, float]] | None:
    """The largest norm and, in a layer further on in the list, the weight whose norm is smallest beside it.

    None where no ratio of two such norms reaches `LAYER_FACTOR`.
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
    """How many times larger, as a person writes it: 1,234 or 2.0e+06."""
    ratio = large / small
    return f"{ratio:,.0f}" if ratio < 1e5 else f"{ratio:.1e}"
