"""The picture of the gradient norms of a run, drawn from its records."""

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nets.errors import InputError
from nets.records.step import Step, numbers_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MOST_LABELLED = 12
"""Parameters with an entry of their own in the legend; with more, a colour bar says which layer a line belongs to."""

STRETCHES_FEW_LINES, STRETCHES_MANY_LINES = 120, 60

"""The noise of mini-batches fills a picture 1,000 pixels wide, and
more so with many lines. A run of more than twice so many steps is drawn as the median of so many stretches, over a band
from smallest to largest."""

STYLES: dict[str, Any] = {"weight": "-", "bias": "--"}
"""Line styles by the last part of a parameter's name; others are dotted."""


def gradient_figure(steps: Sequence[Step], path: str | os.PathLike[str]) -> None:
    """Write the picture of ‖∂ℓ/∂θ_p‖ of every parameter over the steps, on a log axis, as a PNG file at `path`.

    A file that is already there is replaced only by a complete one.

    Raises:
        InputError: there is no step, or nothing can be written at `path`.
    """
    if not steps:
        raise InputError("The run has no step, and a picture of its gradients needs one: train for at least one step.")
    figure = paper(10, 5.6)
    draw_gradient_norms(figure, steps)
    save(figure, Path(path))


def paper(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> "Figure":
    """An empty figure of so many inches, outside of pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG file, first under another name, so that `path` never holds half a picture.

    Raises:
        InputError: nothing can be written there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        figure.savefig(temporary, format="png")
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"The picture '{path}' cannot be written ({error.strerror or error}): "
            "name a file in a directory that exists and can be written."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def draw_gradient_norms(figure: "Figure", steps: Sequence[Step]) -> "Axes":
    """Draw one line per parameter and a heavier one for the total; return the axes they are on.

    Each line has its parameter's name as label. Weights are solid, biases dashed, other parameters dotted; the colour
    is the
    depth of the layer. A norm of zero has no place on a log axis: it is a triangle on the lower edge. A norm that is
    not finite is a triangle on the upper edge. A long run is drawn in stretches of steps, and the title says so.
    """
    from matplotlib.ticker import MaxNLocator

    runs = numbers_of(steps)
    names = list(runs[0].names)
    layers = list(dict.fromkeys(_layer(name) for name in names))
    colours = dict(zip(layers, depth_colours(len(layers)), strict=True))
    many = len(names) > MOST_LABELLED
    stretches = STRETCHES_MANY_LINES if many else STRETCHES_FEW_LINES
    stretch = len(steps) // stretches if len(steps) > 2 * stretches else 1

    axes = figure.add_subplot()
    axes.set_yscale("log", nonpositive="mask")
    numbers = np.array([step.step for step in steps])
    for name, norms in zip(names, np.concatenate([run.gradient_norm for run in runs]).T, strict=True):
        style = STYLES.get(name.rpartition(".")[2], ":")
        look = {"color": colours[_layer(name)], "linestyle": style, "linewidth": 0.9 if many else 1.4}
        _line(axes, numbers, norms, stretch, band=not many, label=name, **look)
    totals = np.concatenate([run.total_gradient_norm for run in runs])
    _line(axes, numbers, totals, stretch, band=not many, label="total", color="black", linestyle="-", linewidth=2.4)

    drawn = "" if stretch == 1 else f" (median of {stretch} steps" + (")" if many else "; band: smallest to largest)")
    axes.set_title(f"Gradient norm of each parameter{drawn}", loc="left", fontsize="medium")
    axes.set_xlabel("step")
    axes.set_ylabel("‖∂ℓ/∂θ‖")
    axes.grid(True, which="major", alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(*((numbers[0], numbers[-1]) if numbers[0] < numbers[-1] else (numbers[0] - 1, numbers[0] + 1)))
    if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines if line.get_label() != "_edge"):
        axes.tick_params(axis="y", which="both", left=False, labelleft=False)
        axes.text(0.5, 0.5, "every norm is zero or not finite", transform=axes.transAxes, ha="center", color="grey")
    _legend(figure, axes, names, layers)
    return axes


def depth_colours(layers: int) -> "NDArray[np.float64]":
    """One colour per layer, dark at the input; the yellow end of the map, hardly seen on white, is left out."""
    from matplotlib import colormaps

    return np.asarray(colormaps["viridis"](np.linspace(0, 0.85, layers)))


def _layer(parameter: str) -> str:
    """'0.weight' → '0'; a parameter outside of any module is a layer of its own."""
    module, _, leaf = parameter.rpartition(".")
    return module or leaf


def _line(
    axes: "Axes", steps: "NDArray[np.int64]", norms: "NDArray[np.float64]", stretch: int, *, band: bool, **look: Any
) -> None:
    """One line, and triangles on the edges for norms that a log axis cannot show."""
    drawable = np.isfinite(norms) & (norms > 0)
    starts = np.arange(0, len(norms), stretch)
    shown = np.where(drawable, norms, np.nan)
    middle = shown if stretch == 1 else np.array([_median(part) for part in np.split(shown, starts[1:])])
    # A stretch is drawn at its last step, so that the line ends where the run ends.
    ends = steps[np.append(starts[1:], len(steps)) - 1]
    axes.plot(ends, middle, marker="o" if np.isfinite(middle).sum() == 1 else "", markersize=5, **look)
    if band and stretch > 1:
        # fmin and fmax skip NaN; a stretch of NaN alone is a gap in the band.
        lowest, highest = np.fmin.reduceat(shown, starts), np.fmax.reduceat(shown, starts)
        axes.fill_between(ends, lowest, highest, color=look["color"], alpha=0.12, linewidth=0)
    for where, height, marker in ((norms == 0, 0.0, "v"), (~np.isfinite(norms), 1.0, "^")):
        hits = np.flatnonzero(where)
        if len(hits):
            hits = hits[:: math.ceil(len(hits) / 50)]
            axes.plot(
                steps[hits], np.full(len(hits), height), transform=axes.get_xaxis_transform(), clip_on=False,
                zorder=3, linestyle="", marker=marker, markersize=5, color=look["color"], label="_edge",
            )  # fmt: skip


def _median(norms: "NDArray[np.float64]") -> float:
    """The median of the finite norms, NaN without any."""
    drawable = norms[np.isfinite(norms)]
    return float(np.median(drawable)) if len(drawable) else math.nan


def _legend(figure: "Figure", axes: "Axes", names: list[str], layers: list[str]) -> None:
    """Each parameter by name beside the axes; for many parameters, a colour bar of the layers and the styles above."""
    from matplotlib.lines import Line2D

    edges = [line for line in axes.lines if line.get_label() == "_edge"]
    handles = [line for line in axes.lines if line not in edges]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}
    if len(names) > MOST_LABELLED:
        styles = {leaf if leaf in STYLES else "other" for leaf in (name.rpartition(".")[2] for name in names)}
        handles = handles[-1:] + [
            Line2D([], [], color="grey", linestyle=STYLES.get(style, ":"), label=style)
            for style in sorted(styles, reverse=True)
        ]
        place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 6, "columnspacing": 1.2}
        _colour_bar(figure, axes, layers)
    for marker, meaning in (("v", "zero"), ("^", "not finite")):
        if any(line.get_marker() == marker for line in edges):
            handles.append(Line2D([], [], color="grey", linestyle="", marker=marker, markersize=5, label=meaning))
    axes.legend(handles=handles, frameon=False, borderaxespad=0.2, **place)


def _colour_bar(figure: "Figure", axes: "Axes", layers: list[str]) -> None:
    """The colours of the layers, at most a dozen of them with a name."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    scale = ScalarMappable(Normalize(-0.5, len(layers) - 0.5), ListedColormap(depth_colours(len(layers))))
    ticks = list(range(0, len(layers), math.ceil(len(layers) / 12)))
    bar = figure.colorbar(scale, ax=axes, ticks=ticks, pad=0.01, fraction=0.04)
    bar.ax.set_yticklabels([layers[tick] for tick in ticks])
    bar.ax.tick_params(length=0)
    bar.ax.invert_yaxis()
    bar.set_label("layer, from input (top) to output")
