"""What a look at every layer tells of its gradients: a sentence for each fault, and a table of predicted and measured attenuation.

The healthy networks that the limits here were set beside (digit classifiers of 1 to 20 layers, every activation, at the start and
in training): at most 85 % of the slopes of an activation below 0.01, at most 46 % of its units dead, at most a 6.9-fold loss in its
slopes, and never two of these in one layer.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from nets.records.layer_statistics import FLAT, Flow, LayerFlow, Slopes, ratio

#: Share of the slopes of one activation below 0.01 from which on it counts as saturated, if its slopes take at least this factor
#: from the gradient as well. At the end of a good fit an output layer is saturated, but where the error is not.
SATURATED, SATURATED_LOSS = 0.9, 5.0

#: Share of dead units from which on a layer is called dead. Half of them is no rarity in a deep ReLU network that learns.
DEAD = 0.75

#: A single layer that changes the gradient by this factor or more is named as the reason; below it, all on the way together are.
OUTSTANDING = 10.0

#: Of the columns under one look: measured, predicted, flat, dead.
WIDTHS = (8, 10, 6, 6)

#: Rows of the table on a screen; beyond, those in the middle are left to TensorBoard.
MOST_ROWS = 24


def saturated(flow: Flow) -> str | None:
    """Nearly all slopes of an activation are nearly zero, and the gradient is lost in it. The first such layer is named."""
    found = [(layer, one) for layer in flow.layers if (one := _saturated(layer)) is not None]
    if not found:
        return None
    layer, slopes = found[0]
    # Where no gradient comes to the layer there is nothing to measure.
    measured = "" if math.isnan(layer.measured_slope) else f"the gradient {change(layer.measured_slope)} here; "
    return (
        f"saturated: layer {layer.name}: {_percent(slopes.flat)} of the outputs of its {slopes.kind} have "
        f"{slopes.formula} < {FLAT}, so {measured}predicted attenuation {_number(ratio(1, layer.slope))}"
        f"{_others([other for other, _ in found[1:]])} ({moment(flow)})."
    )


def dead(flow: Flow) -> str | None:
    """Most units of an activation have a slope of exactly zero for every sample. The first such layer is named."""
    found = [(layer, one) for layer in flow.layers if (one := _dead(layer)) is not None]
    if not found:
        return None
    layer, slopes = found[0]
    return (
        f"dead: layer {layer.name}: {_percent(slopes.dead)} of its {layer.units:,} units have {slopes.formula} = 0 for each of "
        f"{flow.samples:,} samples: nothing passes back through them, and the weights that feed them stay as they are"
        f"{_others([other for other, _ in found[1:]])} ({moment(flow)})."
    )


def first_lost(flow: Flow) -> str | None:
    """Where numbers cease to be finite: on the way forward, or else on the way back."""
    for layer in flow.layers:
        if not math.isfinite(layer.weight):
            return f"It begins in the parameters of layer {layer.name}: not all of its weights are finite."
        if layer.lost:
            kinds = ", ".join(one.kind for one in layer.activations)
            return (
                f"It begins in layer {layer.name}{f' ({kinds})' if kinds else ''}: {layer.lost:,} of its "
                f"{layer.units * flow.samples:,} outputs are not finite, for inputs of norm {layer.input_norm:.2g} and weights of "
                f"‖W‖_F/√I = {layer.weight:.2g}."
            )
    for layer in reversed(flow.layers):
        if not all(math.isfinite(norm) for norm in layer.cotangents):
            begins = "at the loss" if layer is flow.layers[-1] and not math.isfinite(layer.cotangents[0]) else "on its way back"
            return f"It begins {begins}, in layer {layer.name}, though every output is finite."
    return None


def passage(flow: Flow, early: str, late: str, *, grows: bool) -> str:
    """What became of the gradient on its way from a later layer back to an earlier one, and by what.

    From one ∂ℓ/∂Z to the other it passes the weights of the later layer, the slopes of the earlier one, and all that is between.

    Args:
        flow: the look.
        early: name of the earlier layer.
        late: name of the later layer.
        grows: whether growth is to be explained, or loss.

    Returns:
        Sentences; none where there is no such way, or where what is to be explained did not happen on it.
    """
    names = [layer.name for layer in flow.layers]
    if early not in names or late not in names or names.index(early) >= names.index(late):
        return ""
    way = flow.layers[names.index(early) : names.index(late) + 1]
    total = ratio(way[-1].cotangents[1], way[0].cotangents[1])
    reasons = [_signal(flow, early, grows)]
    if way[-1].cotangents[1] > 0 == way[0].cotangents[1] and not grows:
        before, after = next(pair for pair in reversed(list(pairwise(way))) if pair[0].cotangents[1] == 0)
        reasons.insert(0, f"From layer {before.name} back it is exactly 0, by {_cause(before, after)}.")
    elif math.isfinite(total) and total > 0 and (1 / total if grows else total) >= OUTSTANDING:
        reasons.insert(0, _passed(way, total))
    return " ".join(filter(None, reasons))


def _passed(way: Sequence[LayerFlow], total: float) -> str:
    """How a gradient that stays finite changes along some layers: by one of them, or by all."""
    steps = list(pairwise(way))
    measured = [ratio(after.cotangents[1], before.cotangents[1]) for before, after in steps]
    predicted = math.prod(ratio(1, after.weight * before.slope) for before, after in steps)
    foretold = f"attenuation {_number(predicted)}" if total >= 1 else f"growth {_number(ratio(1, predicted))}"
    text = f"From layer {way[-1].name} back to layer {way[0].name} the gradient {change(total)}, predicted {foretold}"
    strength, index = max((abs(math.log(factor)), index) for index, factor in enumerate(measured))
    before, after = steps[index]
    if len(steps) == 1:
        return f"{text}, by {_cause(before, after)}."
    if strength >= max(math.log(OUTSTANDING), abs(math.log(total)) / 2):
        alone = f"it {change(measured[index])} between layer {after.name} and layer {before.name} alone"
        return f"{text}: {alone}, by {_cause(before, after)}."
    weight, slope = _mean([layer.weight for layer in way[1:]]), _mean([layer.slope for layer in way[:-1]])
    return (
        f"{text}: it {change(total ** (1 / len(steps)))} at each of {len(steps)} layers from layer {way[-1].name} on, through "
        f"weights of ‖W‖_F/√I = {weight:.2g} and slopes of {slope:.2g} (root mean square)."
    )


def moment(flow: Flow) -> str:
    """When the look was taken."""
    return f"after step {flow.updates:,}" if flow.updates else "before the first step"


def table(flows: Sequence[Flow], most_rows: int | None = MOST_ROWS) -> str:
    """A row for each layer, from input to output, at the first and the last look: by what factor the gradient gets smaller on its
    way back through the layer, what its weights and slopes predict, and the shares of flat slopes and of dead units.

    It fits a terminal 80 characters wide, unless a layer has more than two activations.
    """
    looks = [flows[0], flows[-1]] if len(flows) > 1 else [flows[0]]
    rows = [[_title(layer), *(_cells(look.layers[index]) for look in looks)] for index, layer in enumerate(looks[0].layers)]
    if most_rows is not None and len(rows) > most_rows:
        half = most_rows // 2
        rows[half:-half] = [[f"… {len(rows) - 2 * half} more layers, on the Text page of TensorBoard"]]
    if len(looks[0].layers) > 1:
        rows.append(["product", *(_products(look) for look in looks)])
    columns = _row("measured", "predicted", "flat", "dead")
    rows = [["", *(f"{moment(look):<{len(columns)}}" for look in looks)], ["layer", *[columns] * len(looks)], *rows]
    width = max(len(row[0]) for row in rows if len(row) > 1)
    lines = ["  ".join([row[0].ljust(width), *row[1:]]).rstrip() for row in rows]
    return "\n".join(["Attenuation of the gradient on its way back through each layer", *lines])


LEGEND = (
    "measured: ‖∂ℓ/∂Y‖/‖∂ℓ/∂X‖ of the layer X → Y; below 1 the gradient grows there.\n"
    "predicted: 1/(s w), with s = (mean f′²)^½ of its slopes and w = ‖W‖_F/√I.\n"
    f"flat: slopes with |f′| < {FLAT}. dead: units with f′ = 0 for every sample."
)
"""What the columns of the table are."""


def change(factor: float) -> str:
    """'shrinks 80-fold', 'grows 5-fold'."""
    if factor == 0 or math.isinf(factor):
        return "shrinks to exactly 0" if factor else "grows without limit"
    verb, size = ("shrinks", factor) if factor >= 1 else ("grows", 1 / factor)
    return f"{verb} {_number(size)}-fold"


def _saturated(layer: LayerFlow) -> Slopes | None:
    lost = ratio(1, layer.slope) if math.isnan(layer.measured_slope) else layer.measured_slope
    if lost < SATURATED_LOSS:
        return None
    # Where every flat slope is exactly zero, the units are off, and perhaps dead.
    return next((one for one in layer.activations if one.flat >= SATURATED and one.flat > one.zero), None)


def _dead(layer: LayerFlow) -> Slopes | None:
    if _saturated(layer) is not None:
        return None
    return next((one for one in layer.activations if one.dead >= DEAD), None)


def _cause(before: LayerFlow, after: LayerFlow) -> str:
    """The slopes of the earlier layer or the weights of the later one, whichever the larger share comes from."""
    slope, weight = before.slope, after.weight
    if abs(math.log(max(slope, 1e-300))) > abs(math.log(max(weight, 1e-300))):
        return f"the slopes of layer {before.name}, {slope:.2g} (root mean square)"
    return f"the weights of layer {after.name}, ‖W‖_F/√I = {weight:.2g}"


def _signal(flow: Flow, name: str, grows: bool) -> str:
    """∂ℓ/∂W = Σ_n δ_ni X_nj is small, or large, where X is."""
    at_input, here = flow.layers[0].input_norm, next(layer.input_norm for layer in flow.layers if layer.name == name)
    factor = ratio(here, at_input) if grows else ratio(at_input, here)
    if not OUTSTANDING <= factor < math.inf:
        return ""
    verb, size = ("grown", "larger") if grows else ("faded", "smaller")
    return f"The signal has {verb}, too: the input of layer {name} is {_number(factor)} times {size} than that of the network."


def _others(layers: list[LayerFlow]) -> str:
    if not layers:
        return ""
    names = [layer.name for layer in layers]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"; likewise layer{'s' if len(names) > 1 else ''} {shown}"


def _title(layer: LayerFlow) -> str:
    kinds = " ".join(one.kind for one in layer.activations)
    return f"{layer.name}  {kinds or 'Linear'}"


def _cells(layer: LayerFlow) -> str:
    shares = [(one.flat, one.dead) for one in layer.activations]
    largest = [_percent(max(column)) for column in zip(*shares, strict=True)] or ["–", "–"]
    return _row(_times(layer.measured), _times(layer.predicted), *largest)


def _products(look: Flow) -> str:
    return _row(*(_times(math.prod(factors)) for factors in zip(*((f.measured, f.predicted) for f in look.layers), strict=True)))


def _row(*cells: str) -> str:
    padded = (*cells, *[""] * (len(WIDTHS) - len(cells)))
    return "".join(cell.rjust(width) for cell, width in zip(padded, WIDTHS, strict=True))


def _times(factor: float) -> str:
    return "–" if math.isnan(factor) else f"{factor:.2f}" if 0.01 <= factor < 100 else _number(factor)


def _number(number: float) -> str:
    """As a person writes it: 0.25, 2.0, 78, 1,234 or 2.0e+06."""
    if not math.isfinite(number):
        return "∞" if number > 0 else "unknown"
    if number == 0 or not 1e-3 <= number < 1e5:
        return f"{number:.1e}" if number else "0"
    return f"{number:.2g}" if number < 10 else f"{number:,.0f}"


def _percent(share: float) -> str:
    """A share, rounded, but never to 0 or 100 % where it is neither."""
    if 0 < share < 0.005 or 0.995 <= share < 1:
        return "<1 %" if share < 0.5 else ">99 %"
    return f"{share:.0%}".replace("%", " %")


def _mean(numbers: Sequence[float]) -> float:
    """The geometric mean."""
    return math.prod(numbers) ** (1 / len(numbers))
