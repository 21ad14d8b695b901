"""Finds the layer of a snapshot in which a fault begins, and its cause: the slopes or the weights."""

import math
from collections.abc import Sequence
from itertools import pairwise

from nets.records.layer_statistics import FLAT, LayerStatistics, SlopeStatistics, Snapshot, ratio
from nets.telemetry.diagnosis import sentences
from nets.telemetry.diagnosis.numbers import change, moment
from nets.telemetry.diagnosis.thresholds import DEAD_SHARE, OUTSTANDING_FACTOR, SATURATED_LOSS, SATURATED_SHARE
from nets.text import percent, two_digits


def saturated(snapshot: Snapshot) -> str | None:
    """Nearly all slopes of an activation are nearly zero, and make the gradient much smaller.

    The first such layer is named.
    """
    found = [(layer, one) for layer in snapshot.layers if (one := _saturated(layer)) is not None]
    if not found:
        return None
    layer, slopes = found[0]
    # No gradient reaches some layers: there is nothing to measure.
    known = not math.isnan(layer.measured_slope)
    return sentences.SATURATED.format(
        layer=layer.name,
        share=percent(slopes.flat),
        kind=slopes.kind,
        formula=slopes.formula,
        flat=FLAT,
        measured=f"the gradient {change(layer.measured_slope)} here; " if known else "",
        predicted=two_digits(ratio(1, layer.slope)),
        others=_others([other.name for other, _ in found[1:]]),
        moment=moment(snapshot),
    )


def saturated_softmax(snapshot: Snapshot) -> str | None:
    """Nearly all rows of an attention, or of a softmax between layers, are a single position. The first such layer is
    named.

    ∂P_s/∂S_r = P_s (δ_sr − P_r) is then nearly zero, and the scores hardly learn. A last softmax that is sure of the
    classes of a batch is no fault.
    """
    last = snapshot.layers[-1].name
    shares = {name: own["saturated"] for name, own in snapshot.statistics.items() if "saturated" in own}
    found = [name for name, share in shares.items() if share >= SATURATED_SHARE and name != last]
    if not found:
        return None
    return sentences.SATURATED_SOFTMAX.format(
        layer=found[0], share=percent(shares[found[0]]), others=_others(found[1:]), moment=moment(snapshot)
    )


def dead(snapshot: Snapshot) -> str | None:
    """Most units of an activation have a slope of exactly zero for every sample. The first such layer is named."""
    found = [(layer, one) for layer in snapshot.layers if (one := _dead(layer)) is not None]
    if not found:
        return None
    layer, slopes = found[0]
    return sentences.DEAD.format(
        layer=layer.name,
        share=percent(slopes.dead),
        units=layer.units,
        formula=slopes.formula,
        samples=snapshot.samples,
        others=_others([other.name for other, _ in found[1:]]),
        moment=moment(snapshot),
    )


def first_not_finite(snapshot: Snapshot) -> str | None:
    """The first layer with numbers that are not finite: in the forward pass, or else in the backward pass."""
    for layer in snapshot.layers:
        if layer.broken_parameters:
            return sentences.BROKEN_PARAMETERS.format(layer=layer.name)
        if layer.not_finite:
            kinds = ", ".join(one.kind for one in layer.activations)
            return sentences.BROKEN_OUTPUTS.format(
                layer=layer.name,
                kinds=f" ({kinds})" if kinds else "",
                count=layer.not_finite,
                outputs=layer.units * snapshot.samples,
                norm=layer.input_norm,
                weight=layer.weight,
            )
    for layer in reversed(snapshot.layers):
        if not all(math.isfinite(norm) for norm in layer.cotangents):
            at_loss = layer is snapshot.layers[-1] and not math.isfinite(layer.cotangents[0])
            return sentences.BROKEN_BACKWARD.format(
                where="at the loss" if at_loss else "on its way back", layer=layer.name
            )
    return None


def passage(snapshot: Snapshot, early: str, late: str, *, grows: bool) -> str:
    """How the gradient changes from a later layer back to an earlier one, and the cause.

    From one ∂ℓ/∂Z to the other it is multiplied by the weights of the later layer, the slopes of the earlier one, and
    everything between.

    Args:
        snapshot: of all layers.
        early: name of the earlier layer.
        late: name of the later layer.
        grows: whether growth is to be explained, or loss.

    Returns:
        Sentences; none if the layers are not in this order, or if the gradient does not change in this direction.
    """
    names = [layer.name for layer in snapshot.layers]
    early, late = _holding(names, early), _holding(names, late)
    if early not in names or late not in names or names.index(early) >= names.index(late):
        return ""
    way = snapshot.layers[names.index(early) : names.index(late) + 1]
    total = ratio(way[-1].cotangents[1], way[0].cotangents[1])
    reasons = [_signal(snapshot, early, grows)]
    if way[-1].cotangents[1] > 0 == way[0].cotangents[1] and not grows:
        before, after = next(pair for pair in reversed(list(pairwise(way))) if pair[0].cotangents[1] == 0)
        reasons.insert(0, sentences.PASSAGE_ZERO.format(layer=before.name, cause=_cause(before, after)))
    elif math.isfinite(total) and total > 0 and (1 / total if grows else total) >= OUTSTANDING_FACTOR:
        reasons.insert(0, _passed(way, total))
    return " ".join(filter(None, reasons))


def _holding(names: Sequence[str], name: str) -> str:
    """The layer of the snapshot that holds a part, such as 'blocks.0' for 'blocks.0.attention.query'."""
    return next((layer for layer in names if f"{name}.".startswith(f"{layer}.")), name)


def _passed(way: Sequence[LayerStatistics], total: float) -> str:
    """How a finite gradient changes along some layers: in one of them, or in all of them."""
    steps = list(pairwise(way))
    measured = [ratio(after.cotangents[1], before.cotangents[1]) for before, after in steps]
    predicted = math.prod(ratio(1, after.weight * before.slope) for before, after in steps)
    text = sentences.PASSAGE.format(
        late=way[-1].name,
        early=way[0].name,
        change=change(total),
        predicted=f"attenuation {two_digits(predicted)}" if total >= 1 else f"growth {two_digits(ratio(1, predicted))}",
    )
    strength, index = max((abs(math.log(factor)), index) for index, factor in enumerate(measured))
    before, after = steps[index]
    cause = _cause(before, after)
    if len(steps) == 1:
        return sentences.PASSAGE_ONE_LAYER.format(passage=text, cause=cause)
    if strength >= max(math.log(OUTSTANDING_FACTOR), abs(math.log(total)) / 2):
        return sentences.PASSAGE_OUTSTANDING.format(
            passage=text, change=change(measured[index]), after=after.name, before=before.name, cause=cause
        )
    return sentences.PASSAGE_ALL_LAYERS.format(
        passage=text,
        change=change(total ** (1 / len(steps))),
        count=len(steps),
        late=way[-1].name,
        weight=_geometric_mean([layer.weight for layer in way[1:]]),
        slope=_geometric_mean([layer.slope for layer in way[:-1]]),
    )


def _saturated(layer: LayerStatistics) -> SlopeStatistics | None:
    loss = ratio(1, layer.slope) if math.isnan(layer.measured_slope) else layer.measured_slope
    if loss < SATURATED_LOSS:
        return None
    # Where every flat slope is exactly zero, the units are off, and perhaps dead.
    return next((one for one in layer.activations if one.flat >= SATURATED_SHARE and one.flat > one.zero), None)


def _dead(layer: LayerStatistics) -> SlopeStatistics | None:
    if _saturated(layer) is not None:
        return None
    return next((one for one in layer.activations if one.dead >= DEAD_SHARE), None)


def _cause(before: LayerStatistics, after: LayerStatistics) -> str:
    """The slopes of the earlier layer or the weights of the later one, whichever changes the gradient more."""
    slope, weight = before.slope, after.weight
    if abs(math.log(max(slope, 1e-300))) > abs(math.log(max(weight, 1e-300))):
        return f"the slopes of layer {before.name}, {slope:.2g} (root mean square)"
    return f"the weights of layer {after.name}, ‖W‖_F/√I = {weight:.2g}"


def _signal(snapshot: Snapshot, name: str, grows: bool) -> str:
    """∂ℓ/∂W = Σ_n δ_ni X_nj is small, or large, if X is."""
    here = next(layer.input_norm for layer in snapshot.layers if layer.name == name)
    at_input = snapshot.layers[0].input_norm
    factor = ratio(here, at_input) if grows else ratio(at_input, here)
    if not OUTSTANDING_FACTOR <= factor < math.inf:
        return ""
    verb, size = ("grown", "larger") if grows else ("faded", "smaller")
    return sentences.SIGNAL.format(verb=verb, layer=name, factor=two_digits(factor), size=size)


def _others(names: list[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"; likewise layer{'s' if len(names) > 1 else ''} {shown}"


def _geometric_mean(numbers: Sequence[float]) -> float:
    return math.prod(numbers) ** (1 / len(numbers))
