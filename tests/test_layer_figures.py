"""flow.png and saturation.png show each number of the snapshots at its position."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

import nets
from nets.errors import InputError
from nets.records.layer_statistics import Snapshot
from nets.telemetry.figures.layer_figures import (
    MOST_PANELS,
    draw_attenuation,
    draw_flow,
    draw_slope_maps,
    draw_slopes,
    flow_figure,
    saturation_figure,
)
from nets.training.gradients.layer_statistics import snapshot


def snapshots_of(layers: int, count: int = 4, activation: str = "tanh") -> list[Snapshot]:
    """Snapshots of a network whose weights grow."""
    network = nets.mlp([5] * (layers + 1), activation, activation)
    data = nets.Batch(torch.rand(7, 5, generator=torch.Generator().manual_seed(1)), torch.zeros(7, 5))
    snapshots = []
    for number in range(count):
        snapshots.append(snapshot(network, nets.MeanSquaredError(), data, 10 * number))
        for parameter in network.parameters():
            parameter.data *= 1.5
    return snapshots


def broken(seen: Snapshot, number: float) -> Snapshot:
    return replace(seen, layers=tuple(replace(layer, cotangents=(number,) * 3, slope=number) for layer in seen.layers))


def mesh(figure: Figure, index: int = 0) -> np.ma.MaskedArray:
    (found,) = [one for one in figure.axes[index].collections if isinstance(one, QuadMesh)]
    return np.ma.asarray(found.get_array())


@pytest.mark.parametrize("layers", [1, 4, 25])
def test_the_map_has_a_row_for_each_layer_and_a_column_for_each_snapshot(layers: int) -> None:
    snapshots, figure = snapshots_of(layers), Figure()
    draw_flow(figure, figure.add_subplot(), snapshots)
    expected = [[seen.layers[0].cotangents[2] for seen in snapshots]]
    expected += [[seen.layers[index].cotangents[0] for seen in snapshots] for index in range(layers)]
    assert np.array_equal(mesh(figure), expected)
    axes = figure.axes[0]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names[0] == "X" and len(names) <= 20 and set(names[1:]) <= {str(2 * layer) for layer in range(layers)}
    assert axes.get_xlim() == (0, 30) and "grey" not in axes.get_title("left")


def test_numbers_that_a_log_scale_cannot_show_are_grey() -> None:
    snapshots, figure = snapshots_of(3), Figure()
    draw_flow(figure, figure.add_subplot(), [*snapshots[:2], broken(snapshots[2], 0.0), broken(snapshots[3], math.nan)])
    assert mesh(figure).mask.tolist() == [[False, False, True, True]] * 4
    assert figure.axes[0].get_title("left").endswith("(grey: zero or not finite)")


def test_the_lines_show_measured_and_predicted_attenuation() -> None:
    first, *_, last = snapshots_of(4)
    axes = Figure().add_subplot()
    draw_attenuation(axes, [first, last])
    lines = {str(line.get_label()): line.get_ydata().tolist() for line in axes.lines}
    assert list(lines) == [
        "measured, before the first step",
        "predicted, before the first step",
        "measured, after step 30",
        "predicted, after step 30",
    ]
    measured = [first.layers[0].cotangents[2], *(layer.cotangents[0] for layer in first.layers)]
    assert lines["measured, before the first step"] == measured
    # Both lines begin at the output; each layer back to X divides by its prediction.
    factors = [math.prod(layer.predicted for layer in last.layers[index:]) for index in range(5)]
    assert lines["predicted, after step 30"] == pytest.approx(
        [last.layers[-1].cotangents[0] / factor for factor in factors]
    )
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["X", "0", "2", "4", "6"]


def test_few_activations_have_a_panel_each_with_their_bands() -> None:
    snapshots, figure = snapshots_of(5), Figure()
    draw_slopes(figure, snapshots, 2, 3)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title("left") for axes in shown] == [f"{2 * layer + 1}  Tanh: f′ = 1 − Y²" for layer in range(5)]
    for index, axes in enumerate(shown):
        slopes = [seen.layers[index].activations[0] for seen in snapshots]
        lines = {str(line.get_label()): line.get_ydata().tolist() for line in axes.lines}
        assert lines == {
            "median": [one.quantiles[2] for one in slopes],
            "share below 0.01": [one.flat for one in slopes],
        }
        lower, upper = (band.get_paths()[0].vertices[:, 1] for band in axes.collections)
        assert lower.min() == min(one.quantiles[0] for one in slopes) and lower.max() == max(
            one.quantiles[4] for one in slopes
        )
        assert upper.min() == min(one.quantiles[1] for one in slopes) and upper.max() == max(
            one.quantiles[3] for one in slopes
        )


def test_many_activations_share_two_maps() -> None:
    snapshots, figure = snapshots_of(20), Figure()
    draw_slope_maps(figure, snapshots)
    for index, value in enumerate(("rms", "flat")):
        expected = [[getattr(seen.layers[layer].activations[0], value) for seen in snapshots] for layer in range(20)]
        assert np.array_equal(mesh(figure, index), expected)
    assert figure.axes[0].get_title("left") == "Slopes (Tanh, f′ = 1 − Y²)"


@pytest.mark.parametrize(
    ("layers", "count", "activation"),
    [(1, 1, "tanh"), (1, 4, "relu"), (5, 4, "gelu"), (MOST_PANELS + 1, 1, "tanh"), (40, 4, "sin")],
)
def test_the_files_are_pictures(layers: int, count: int, activation: str, tmp_path: Path) -> None:
    from PIL import Image

    snapshots = snapshots_of(layers, count, activation)
    flow_figure(snapshots, tmp_path / "flow.png")
    assert saturation_figure(snapshots, tmp_path / "saturation.png") is True
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG" and 700 < image.size[0] < 1600 and 400 < image.size[1] < 1600


@pytest.mark.parametrize("number", [0.0, math.nan, math.inf])
def test_non_finite_numbers_still_give_a_picture(number: float, tmp_path: Path) -> None:
    snapshots = [broken(seen, number) for seen in snapshots_of(3)]
    flow_figure(snapshots, tmp_path / "flow.png")
    figure = Figure()
    draw_flow(figure, figure.add_subplot(), snapshots)
    assert [text.get_text() for text in figure.axes[0].texts] == ["every gradient is zero or not finite"]


def test_a_network_without_an_activation_has_no_saturation(tmp_path: Path) -> None:
    assert saturation_figure(snapshots_of(2, activation="identity"), tmp_path / "saturation.png") is False
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_an_input_error(tmp_path: Path) -> None:
    for draw in (flow_figure, saturation_figure):
        with pytest.raises(InputError, match=r"^The run has no snapshot, .+ take it at step 0\.$"):
            draw([], tmp_path / "f.png")
        with pytest.raises(
            InputError, match=r"^The picture '.*f.png' cannot be written \(No such file or directory\): "
        ):
            draw(snapshots_of(1), tmp_path / "nowhere" / "f.png")


def test_matplotlib_is_imported_only_when_a_picture_is_drawn() -> None:
    script = (
        "import sys, nets.telemetry.report, nets.telemetry.figures.jacobian_figure, nets.verification.side_by_side\n"
        "print([name for name in ('matplotlib', 'rich', 'sklearn') if name in sys.modules])"
    )
    here = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=here, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
