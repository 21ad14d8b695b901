"""The layers of a network as a table: predicted and measured attenuation, flat slopes and dead units."""

import math
from collections.abc import Sequence

from nets.records.layer_statistics import FLAT, LayerStatistics, Snapshot
from nets.telemetry.diagnosis.numbers import moment
from nets.text import percent, two_digits

WIDTHS = (8, 10, 6, 6)
"""Of the columns under one snapshot: measured, predicted, flat, dead."""

MOST_ROWS = 24
"""Rows on a screen; of more, the rows in the middle are left to TensorBoard."""

LEGEND = (
    "measured: ‖∂ℓ/∂Y‖/‖∂ℓ/∂X‖ of the layer X → Y; below 1 the gradient grows there.\n"
    "predicted: 1/(s w), with s = (mean f′²)^½ of its slopes and w = ‖W‖_F/√I.\n"
    f"flat: slopes with |f′| < {FLAT}. dead: units with f′ = 0 for every sample."
)
"""The meaning of the columns."""


def table(snapshots: Sequence[Snapshot], most_rows: int | None = MOST_ROWS) -> str:
    """A row for each layer, from input to output, at the first and the last snapshot.

    The columns are the measured and the predicted attenuation of the gradient on its way back through the layer, and
    the shares of flat slopes and of dead units. It fits a terminal 80 characters wide, unless a layer has more than two
    activations.
    """
    shown = [snapshots[0], snapshots[-1]] if len(snapshots) > 1 else [snapshots[0]]
    rows = [[_title(layer), *(_cells(s.layers[index]) for s in shown)] for index, layer in enumerate(shown[0].layers)]
    if most_rows is not None and len(rows) > most_rows:
        half = most_rows // 2
        rows[half:-half] = [[f"… {len(rows) - 2 * half} more layers, on the Text page of TensorBoard"]]
    if len(shown[0].layers) > 1:
        rows.append(["product", *map(_products, shown)])
    columns = _row("measured", "predicted", "flat", "dead")
    rows = [["", *(f"{moment(s):<{len(columns)}}" for s in shown)], ["layer", *[columns] * len(shown)], *rows]
    width = max(len(row[0]) for row in rows if len(row) > 1)
    lines = ["  ".join([row[0].ljust(width), *row[1:]]).rstrip() for row in rows]
    return "\n".join(["Attenuation of the gradient on its way back through each layer", *lines])


def _title(layer: LayerStatistics) -> str:
    kinds = " ".join(one.kind for one in layer.activations)
    return f"{layer.name}  {kinds or 'Linear'}"


def _cells(layer: LayerStatistics) -> str:
    shares = [(one.flat, one.dead) for one in layer.activations]
    largest = [percent(max(column)) for column in zip(*shares, strict=True)] or ["–", "–"]
    return _row(_factor(layer.measured), _factor(layer.predicted), *largest)


def _products(snapshot: Snapshot) -> str:
    factors = zip(*((layer.measured, layer.predicted) for layer in snapshot.layers), strict=True)
    return _row(*(_factor(math.prod(column)) for column in factors))


def _row(*cells: str) -> str:
    padded = (*cells, *[""] * (len(WIDTHS) - len(cells)))
    return "".join(cell.rjust(width) for cell, width in zip(padded, WIDTHS, strict=True))


def _factor(factor: float) -> str:
    return "–" if math.isnan(factor) else f"{factor:.2f}" if 0.01 <= factor < 100 else two_digits(factor)
