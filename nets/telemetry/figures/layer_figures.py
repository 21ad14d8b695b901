"""Pictures of the gradient on its way back through the layers, and of their slopes, drawn from snapshots."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nets.errors import InputError
from nets.records.layer_statistics import FLAT, SlopeStatistics, Snapshot
from nets.telemetry.diagnosis.numbers import moment
from nets.telemetry.figures.descent_figures import depth_colours, paper, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MOST_PANELS = 12
"""Activations with a panel of their own; with more, each is a row of a map."""

MOST_NAMES = 20
"""Names of layers along an axis."""


def flow_figure(snapshots: Sequence[Snapshot], path: str | os.PathLike[str]) -> None:
    """Write the picture of ‖∂ℓ/∂Y‖ of every layer as a PNG file at `path`.

    It shows the norms over the steps, and from the output back to the input, measured and predicted.

    Raises:
        InputError: there is no snapshot, or nothing can be written at `path`.
    """
    _check(snapshots)
    figure = paper(12, min(9.0, max(4.4, 1.6 + 0.28 * len(snapshots[0].layers))))
    over_steps, backwards = figure.subplots(1, 2, width_ratios=(1.15, 1))
    draw_flow(figure, over_steps, snapshots)
    draw_attenuation(backwards, [snapshots[0], snapshots[-1]] if len(snapshots) > 1 else snapshots)
    save(figure, Path(path))


def saturation_figure(snapshots: Sequence[Snapshot], path: str | os.PathLike[str]) -> bool:
    """Write the picture of |f′| of every activation over the steps as a PNG file at `path`; False if there is no
    activation.

    Raises:
        InputError: there is no snapshot, or nothing can be written at `path`.
    """
    _check(snapshots)
    count = len(_activations(snapshots[0]))
    if not count:
        return False
    if count <= MOST_PANELS:
        columns = min(count, 3)
        rows = math.ceil(count / columns)
        figure = paper(max(6.5, 4.1 * columns), 1.0 + 2.6 * rows)
        draw_slopes(figure, snapshots, rows, columns)
    else:
        figure = paper(12, min(9.0, 1.6 + 0.28 * count))
        draw_slope_maps(figure, snapshots)
    save(figure, Path(path))
    return True


def draw_flow(figure: "Figure", axes: "Axes", snapshots: Sequence[Snapshot]) -> None:
    """A map of ‖∂ℓ/∂Y‖: a row for each layer, input below, and a column for each snapshot.

    Zero and not finite are grey.
    """
    from matplotlib.colors import LogNorm

    norms = np.array([_cotangents(snapshot) for snapshot in snapshots], dtype=float).T
    shown = np.ma.masked_where(~np.isfinite(norms) | (norms <= 0), norms)
    low, high = (shown.min(), shown.max()) if shown.count() else (0.1, 1.0)
    # A whole decade at least, so that equal norms have equal colours.
    middle = math.sqrt(low) * math.sqrt(high)
    low, high = min(low, middle / 10**0.5), max(high, middle * 10**0.5)
    mesh = _map(axes, shown, snapshots, ["X", *(layer.name for layer in snapshots[0].layers)], norm=LogNorm(low, high))
    figure.colorbar(mesh, ax=axes, label="‖∂ℓ/∂Y‖", pad=0.02)
    axes.set_ylabel("layer, from the network's input X (below) to output")
    grey = "" if shown.count() == shown.size else " (grey: zero or not finite)"
    axes.set_title(f"Gradient at the output of each layer{grey}", loc="left", fontsize="medium")
    if not shown.count():
        axes.text(0.5, 0.5, "every gradient is zero or not finite", transform=axes.transAxes, ha="center")


def draw_attenuation(axes: "Axes", snapshots: Sequence[Snapshot]) -> None:
    """‖∂ℓ/∂Y‖ from the output back to the input: measured, and predicted by weights and slopes."""
    names = [layer.name for layer in snapshots[0].layers]
    places = np.arange(len(names) + 1)
    for snapshot, colour in zip(snapshots, depth_colours(3)[[0, 2]], strict=False):
        measured = _cotangents(snapshot)
        predicted = measured[-1:]
        for layer in reversed(snapshot.layers):
            predicted.insert(0, predicted[0] / layer.predicted if layer.predicted else math.nan)
        lines = (
            ("measured", measured, {"marker": "o", "markersize": 4}),
            ("predicted", predicted, {"linestyle": "--"}),
        )
        for what, norms, style in lines:
            there = "" if np.isfinite(_positive(norms)).any() else " (zero or not finite)"
            axes.plot(places, _positive(norms), color=colour, label=f"{what}, {moment(snapshot)}{there}", **style)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    middle = math.sqrt(low * high)
    axes.set_ylim(min(low, middle / 5), max(high, middle * 5))
    every = math.ceil(len(places) / MOST_NAMES)
    axes.set_xticks(places[::every], ["X", *names][::every], fontsize="small" if len(places) > 10 else "medium")
    axes.set_xlabel("at the output of layer … (X: at the input of the network)")
    axes.set_ylabel("‖∂ℓ/∂Y‖")
    axes.grid(True, which="major", alpha=0.3)
    axes.set_title("Attenuation on the way back, right to left", loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small")


def draw_slopes(figure: "Figure", snapshots: Sequence[Snapshot], rows: int, columns: int) -> None:
    """A panel for each activation: the median of |f′| over the steps, and bands with half and nine tenths of all."""
    steps = [snapshot.updates for snapshot in snapshots]
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for index, axes in enumerate(panels):
        if index >= len(_activations(snapshots[0])):
            axes.set_axis_off()
            continue
        series = [_activations(snapshot)[index] for snapshot in snapshots]
        bands = np.array([one.quantiles for one in series]).T
        colour = depth_colours(3)[1]
        axes.fill_between(steps, bands[0], bands[4], color=colour, alpha=0.15, linewidth=0, label="nine tenths")
        axes.fill_between(steps, bands[1], bands[3], color=colour, alpha=0.35, linewidth=0, label="half")
        axes.plot(steps, bands[2], color=colour, marker="o" if len(steps) == 1 else "", label="median")
        axes.plot(
            steps,
            [one.flat for one in series],
            color="black",
            linewidth=1.2,
            linestyle=":",
            label=f"share below {FLAT}",
        )
        axes.set_title(_title(series), loc="left", fontsize="medium")
        axes.grid(True, alpha=0.3)
        _step_axis(axes, snapshots, labelled=index + columns >= len(_activations(snapshots[0])))
        axes.set_ylim(-0.02, max(1.02, axes.get_ylim()[1]))
        if index % columns == 0:
            axes.set_ylabel("|f′|")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False, fontsize="small"
    )


def draw_slope_maps(figure: "Figure", snapshots: Sequence[Snapshot]) -> None:
    """Two maps of rms f′ and of the share of |f′| < 0.01: a row for each activation, input below, a column for each
    snapshot."""
    names = [one.name for one in _activations(snapshots[0])]
    kinds = list(dict.fromkeys(f"{one.kind}, f′ = {one.formula}" for one in _activations(snapshots[0])))
    for axes, (title, label, values) in zip(
        figure.subplots(1, 2, sharey=True),
        (
            (
                f"Slopes ({'; '.join(kinds)})",
                "(mean f′²)^½",
                [[one.rms for one in _activations(snapshot)] for snapshot in snapshots],
            ),
            (
                f"Share of the slopes below {FLAT}",
                "share",
                [[one.flat for one in _activations(snapshot)] for snapshot in snapshots],
            ),
        ),
        strict=True,
    ):
        shown = np.ma.masked_invalid(np.array(values, dtype=float).T)
        high = max(1.0, shown.max()) if shown.count() else 1.0
        mesh = _map(axes, shown, snapshots, names, vmin=0, vmax=high)
        figure.colorbar(mesh, ax=axes, label=label, pad=0.02)
        axes.set_title(title, loc="left", fontsize="medium")
    figure.axes[0].set_ylabel("activation, from input (below) to output")


def _map(
    axes: "Axes", values: "NDArray[np.float64]", snapshots: Sequence[Snapshot], names: list[str], **scale: Any
) -> "QuadMesh":
    """Coloured cells; each reaches from its snapshot halfway to its neighbours."""
    axes.set_facecolor("0.85")
    steps = np.array([snapshot.updates for snapshot in snapshots], dtype=float)
    edges = np.concatenate([steps[:1] - 0.5, (steps[1:] + steps[:-1]) / 2, steps[-1:] + 0.5])
    mesh = axes.pcolormesh(edges, np.arange(len(names) + 1) - 0.5, values, cmap="viridis", **scale)
    every = math.ceil(len(names) / MOST_NAMES)
    axes.set_yticks(range(0, len(names), every), names[::every])
    _step_axis(axes, snapshots, labelled=True)
    return mesh


def _step_axis(axes: "Axes", snapshots: Sequence[Snapshot], *, labelled: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if len(snapshots) > 1:
        axes.set_xlim(snapshots[0].updates, snapshots[-1].updates)
    if labelled:
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)


def _cotangents(snapshot: Snapshot) -> list[float]:
    """‖∂ℓ/∂X‖ at the input of the network, then ‖∂ℓ/∂Y‖ of each layer."""
    return [snapshot.layers[0].cotangents[2], *(layer.cotangents[0] for layer in snapshot.layers)]


def _title(series: list[SlopeStatistics]) -> str:
    formula = next((one.formula for one in series if one.formula.startswith("|")), series[0].formula)
    return f"{series[0].name}  {series[0].kind}: f′ = {formula.strip('|')}"


def _activations(snapshot: Snapshot) -> list[SlopeStatistics]:
    return [one for layer in snapshot.layers for one in layer.activations]


def _positive(numbers: list[float]) -> "NDArray[np.float64]":
    """The numbers that a log axis can show; NaN, which is a gap, for the others."""
    array = np.array(numbers, dtype=float)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def _check(snapshots: Sequence[Snapshot]) -> None:
    if not snapshots:
        raise InputError("The run has no snapshot, and a picture of its layers needs one: take it at step 0.")
