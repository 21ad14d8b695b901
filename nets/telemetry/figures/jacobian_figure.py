"""The picture of a certificate: each Jacobian by the closed form, by reverse mode, and the difference."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nets.errors import InputError
from nets.records.jacobian_view import JacobianView
from nets.telemetry.figures.descent_figures import paper, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MOST_BELOW, MOST_COLUMNS, MOST_VIEWS = 7, 4, 48
"""Jacobians in a column before the next column begins, columns, and Jacobians in all."""

MOST_LETTERS = 150
"""Letters of the text above a Jacobian, where there is one column."""

MOST_CELLS = 256
"""Cells along a side; of a larger matrix each cell is the largest of a block, so that a single wrong entry stays
visible."""

TITLES = ("closed form", "reverse mode", "difference, in colours of its own")
LOW, HIGH, TEXT, GAP, MARGIN, HEAD, FOOT = 0.32, 2.0, 0.34, 0.1, 0.25, 0.42, 0.75
"""Inches: least and largest height of a picture, the text above it, the gap between pictures, and the margins of the
page."""


def jacobian_figure(views: Sequence[JacobianView], path: str | os.PathLike[str]) -> None:
    """Write closed form | reverse mode | difference of each Jacobian as heat maps, in a PNG file at `path`.

    Closed form and reverse mode share their colours; the difference has its own, so that even rounding can be seen, and
    states how large it is. Of more than MOST_VIEWS, those that differ most for their size are shown.

    Raises:
        InputError: there is no view, or nothing can be written at `path`.
    """
    if not views:
        raise InputError(
            "There is no Jacobian to be drawn: give the result of nets.verification.side_by_side.jacobian_views."
        )
    save(draw_jacobians(views), Path(path))


def draw_jacobians(views: Sequence[JacobianView]) -> "Figure":
    """The figure: three pictures for each view with a text above them, in one or several columns."""
    shown = _chosen(views)
    count = min(MOST_COLUMNS, math.ceil(len(shown) / MOST_BELOW))
    below = math.ceil(len(shown) / count)
    columns = [shown[start : start + below] for start in range(0, len(shown), below)]
    tallest = max(sum(_height(view, count) + TEXT + GAP for view in column) for column in columns)
    width, height = (11.0 if count == 1 else 2 * MARGIN + 5.4 * count), HEAD + tallest + FOOT
    figure = paper(width, height, layout=None)
    # One pair of axes in inches for everything: a hundred of them would take seconds.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    across = (width - 2 * MARGIN) / count
    each = (across - (MARGIN if count > 1 else 0) - 2 * GAP) / 3
    for number, column in enumerate(columns):
        lefts = [MARGIN + number * across + place * (each + GAP) for place in range(3)]
        top = height - HEAD
        for left, title in zip(lefts, TITLES, strict=True):
            axes.text(left, top + 0.08, title if count == 1 else title.split(",")[0], weight="bold", fontsize=10)
        for view in column:
            tall = _height(view, count)
            top -= TEXT
            _caption(axes, view, lefts[0], top + 0.06, short=count > 1)
            for place, left in enumerate(lefts):
                _picture(axes, view, place, (left, left + each, top - tall, top))
            top -= tall + GAP
    _scales(axes, shown)
    axes.text(width - MARGIN, 0.3, _footnote(views, shown, count), ha="right", va="center", fontsize=8, color="0.35")
    axes.set(xlim=(0, width), ylim=(0, height), aspect="auto")
    return figure


def _chosen(views: Sequence[JacobianView]) -> list[JacobianView]:
    """The Jacobians that fit, in the order of the network: those that differ most for their size."""
    by_fault = sorted(views, key=lambda p: -np.nan_to_num(p.apart / max(p.largest, 1e-300), nan=np.inf))
    kept = {view.parameter for view in by_fault[:MOST_VIEWS]}
    return [view for view in views if view.parameter in kept]


def _height(view: JacobianView, columns: int) -> float:
    """A row is as high as a letter in a small matrix, and lower in a large one."""
    return min(HIGH / (1 if columns == 1 else 2), max(LOW, 0.05 * len(view.closed)))


def _caption(axes: "Axes", view: JacobianView, x: float, y: float, *, short: bool) -> None:
    name = axes.text(x, y, view.parameter, weight="bold", fontsize=9, va="bottom")
    if short:
        kind = "sample 0" if view.signed else "norm"
        text = f"{kind}, max {view.largest:.1e}, " + (f"± {view.apart:.0e}" if view.apart else "equal")
    else:
        count = f"{view.entries:,} entries"
        apart = f"{count} differ by at most {view.apart:.1e}" if view.apart else f"all {count} equal"
        text = f"{view.shown}; largest entry {view.largest:.2g}; {apart}"
        # The formula of a chain of activations may be longer than the page is wide.
        text = f"{view.formula}     {text}" if len(view.formula) + len(text) < MOST_LETTERS else text
    beside: dict[str, Any] = {"xycoords": name, "xytext": (7, 0), "textcoords": "offset points"}
    axes.annotate(text, (1, 0), fontsize=8.5, va="bottom", color="0.25", **beside)


def _picture(axes: "Axes", view: JacobianView, place: int, extent: tuple[float, float, float, float]) -> None:
    """One of the three: diverging colours about zero for entries, from dark to light for norms."""
    from matplotlib.patches import Rectangle

    matrix = (view.closed, view.reverse, view.difference)[place]
    scale = _largest(matrix if place == 2 else np.stack([view.closed, view.reverse])) or 1.0
    low, colours = (-scale, "RdBu_r") if view.signed else (0.0, "magma")
    left, right, bottom, top = extent
    # Numbers that are not finite stay green.
    axes.add_patch(
        Rectangle((left, bottom), right - left, top - bottom, facecolor="limegreen", edgecolor="0.6", linewidth=1)
    )
    shown = np.ma.masked_invalid(_pooled(matrix))
    axes.imshow(
        shown, vmin=low, vmax=scale, extent=extent, aspect="auto", interpolation="nearest", cmap=colours, zorder=2
    )


def _scales(axes: "Axes", shown: Sequence[JacobianView]) -> None:
    """The meaning of the colours, relative to the largest number of each picture."""
    left = MARGIN + 0.15
    for signed, colours, labels in ((True, "RdBu_r", ("−max", "0", "max")), (False, "magma", ("0", "max"))):
        if any(view.signed is signed for view in shown):
            axes.imshow(
                np.linspace(0, 1, 256)[None], extent=(left, left + 1.5, 0.34, 0.46), aspect="auto", cmap=colours
            )
            for label, x in zip(labels, np.linspace(left, left + 1.5, len(labels)), strict=True):
                axes.text(x, 0.3, label, ha="center", va="top", fontsize=7.5)
            left += 2.1


def _footnote(views: Sequence[JacobianView], shown: Sequence[JacobianView], columns: int) -> str:
    notes = ["rounding alone makes differences of about 1e-16 of the largest entry"]
    if columns > 1:
        notes.insert(0, ". ".join(dict.fromkeys(p.shown for p in shown)))
        notes.append("max: largest entry; ±: largest difference")
    if any(max(view.closed.shape) > MOST_CELLS for view in shown):
        notes.append(f"of more than {MOST_CELLS} rows or columns, each cell is the largest of a block")
    if len(shown) < len(views):
        notes.append(f"the {len(shown)} of {len(views)} Jacobians that differ most")
    return "\n".join(notes)


def _pooled(matrix: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """At most MOST_CELLS along each side, each cell the entry of largest size in its block."""
    for axis in (0, 1):
        size = matrix.shape[axis]
        if size > MOST_CELLS:
            starts = np.arange(MOST_CELLS) * size // MOST_CELLS
            highest, lowest = np.maximum.reduceat(matrix, starts, axis), np.minimum.reduceat(matrix, starts, axis)
            matrix = np.where(highest >= -lowest, highest, lowest)
    return matrix


def _largest(matrix: "NDArray[np.float64]") -> float:
    finite = np.abs(matrix[np.isfinite(matrix)])
    return float(finite.max()) if finite.size else 0.0
