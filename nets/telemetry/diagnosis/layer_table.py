"""The layers of a network as a table: predicted and measured attenuation, flat slopes and dead units."""

import math
import re
from collections.abc import Sequence

from nets.records.layer_statistics import FLAT, LayerStatistics, Snapshot
from nets.telemetry.diagnosis.numbers import moment
from nets.text import aligned, percent, two_digits

COLUMNS = ("", "measured", "predicted", "flat", "dead")
"""The columns of one snapshot. The empty one separates it from the columns to its left."""

MOST_LAYERS = 24
"""Rows on a screen; of more, the rows in the middle are left to TensorBoard."""

LEGEND = (
    "measured: ‖∂ℓ/∂Y‖/‖∂ℓ/∂X‖ of the layer X → Y; below 1 the gradient grows there.\n"
    "predicted: 1/(s w), with s = (mean f′²)^½ of its slopes and w = ‖W‖_F/√I.\n"
    f"flat: slopes with |f′| < {FLAT}. dead: units with f′ = 0 for every sample."
)
"""The meaning of the columns."""


def table(snapshots: Sequence[Snapshot], most_rows: int | None = MOST_LAYERS) -> str:
    """A row for each layer, from input to output, at the first and the last snapshot.

    The columns are the measured and the predicted attenuation of the gradient on its way back through the layer, and
    the shares of flat slopes and of dead units. It fits a terminal 80 characters wide, unless a layer has more than two
    activations.
    """
    shown = [snapshots[0], snapshots[-1]] if len(snapshots) > 1 else [snapshots[0]]
    layers = range(len(shown[0].layers))
    rows = [[_title(shown[0].layers[i]), *(cell for s in shown for cell in _cells(s.layers[i]))] for i in layers]
    if len(layers) > 1:
        rows.append(["product", *(cell for s in shown for cell in _products(s))])
    head, *lines = aligned([["layer", *COLUMNS * len(shown)], *rows], right=range(1, len(rows[0])), gap=1)
    if most_rows is not None and len(layers) > most_rows:
        half = most_rows // 2
        hidden = len(layers) - 2 * half
        lines[half : half + hidden] = [f"… {hidden} more layers, on the Text page of TensorBoard"]
    times = ""
    for snapshot, column in zip(shown, re.finditer(COLUMNS[1], head), strict=True):
        times = times.ljust(column.start()) + moment(snapshot)
    return "\n".join(["Attenuation of the gradient on its way back through each layer", times, head, *lines])


def _title(layer: LayerStatistics) -> str:
    kinds = " ".join(one.kind for one in layer.activations)
    return f"{layer.name}  {kinds or layer.kind}"


def _cells(layer: LayerStatistics) -> list[str]:
    shares = [(one.flat, one.dead) for one in layer.activations]
    largest = [percent(max(column)) for column in zip(*shares, strict=True)] or ["–", "–"]
    return ["", _factor(layer.measured), _factor(layer.predicted), *largest]


def _products(snapshot: Snapshot) -> list[str]:
    factors = zip(*((layer.measured, layer.predicted) for layer in snapshot.layers), strict=True)
    return ["", *(_factor(math.prod(column)) for column in factors), "", ""]


def _factor(factor: float) -> str:
    return "–" if math.isnan(factor) else f"{factor:.2f}" if 0.01 <= factor < 100 else two_digits(factor)
