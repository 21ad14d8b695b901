"""gradients.png has a line for each parameter; the file is complete or absent."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nets.errors import InputError
from nets.records.contributions import Accumulation
from nets.records.step import Step
from nets.telemetry.figures.descent_figures import draw_gradient_norms, gradient_figure
from tests.stepping import changed


def names(layers: int) -> list[str]:
    return [f"{2 * layer}.{leaf}" for layer in range(layers) for leaf in ("weight", "bias")]


def records(count: int, parameters: list[str]) -> list[Step]:
    generator = np.random.default_rng(0)
    steps = []
    for number in range(1, count + 1):
        norms = dict(zip(parameters, generator.lognormal(-3, 2, len(parameters)).tolist(), strict=True))
        steps.append(Step.of(number, 1, 1.0, norms, norms, Accumulation((1,), (1.0,))))
    return steps


def draw(steps: list[Step]) -> Axes:
    return draw_gradient_norms(Figure(), steps)


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    return {
        str(line.get_label()): (line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in axes.lines
        if line.get_label() != "_edge"
    }


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("layers", [1, 2, 6, 20])
def test_each_parameter_has_a_line_with_its_norms(layers: int) -> None:
    steps = records(30, names(layers))
    axes = draw(steps)
    numbers = list(range(1, 31))
    wanted = {name: (numbers, [step.gradient_norm[name] for step in steps]) for name in names(layers)}
    assert lines(axes) == {**wanted, "total": (numbers, [step.total_gradient_norm for step in steps])}
    assert axes.get_yscale() == "log"


def test_few_parameters_are_named_in_the_legend() -> None:
    assert legend(draw(records(5, names(2)))) == ["0.weight", "0.bias", "2.weight", "2.bias", "total"]


def test_many_parameters_have_a_colour_bar_of_their_layers() -> None:
    figure = Figure()
    axes = draw_gradient_norms(figure, records(5, names(20)))
    assert legend(axes) == ["total", "weight", "bias"]
    (bar,) = [other for other in figure.axes if other is not axes]
    assert [tick.get_text() for tick in bar.get_yticklabels()] == [str(layer) for layer in range(0, 40, 4)]
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    assert len({tuple(colours[f"{2 * layer}.weight"]) for layer in range(20)}) == 20
    assert all(tuple(colours[f"{2 * i}.weight"]) == tuple(colours[f"{2 * i}.bias"]) for i in range(20))


def test_the_total_norm_is_the_thickest_line() -> None:
    for layers in (1, 20):
        widths = {line.get_label(): line.get_linewidth() for line in draw(records(5, names(layers))).lines}
        total = widths.pop("total")
        assert total > max(widths.values())


def test_zero_and_non_finite_norms_are_drawn_at_the_edges_of_the_log_axis() -> None:
    steps = records(4, ["0.weight", "0.bias"])
    steps[1] = changed(steps[1], gradient_norm={"0.weight": 0.0, "0.bias": 1.0})
    steps[3] = changed(steps[3], gradient_norm={"0.weight": 1.0, "0.bias": math.nan})
    axes = draw(steps)
    edges = [
        (line.get_marker(), line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in axes.lines
        if line.get_label() == "_edge"
    ]
    assert edges == [("v", [2], [0.0]), ("^", [4], [1.0]), ("^", [4], [1.0])]
    assert legend(axes)[-2:] == ["zero", "not finite"]
    assert np.isnan(lines(axes)["0.weight"][1][1])
    assert np.isfinite(axes.get_ylim()).all()


@pytest.mark.parametrize("norm", [0.0, math.nan, math.inf])
def test_a_picture_without_a_finite_norm_says_so(tmp_path: Path, norm: float) -> None:
    steps = [changed(s, gradient_norm={"w": norm}) for s in records(3, ["w"])]
    gradient_figure(steps, tmp_path / "g.png")
    assert [text.get_text() for text in draw(steps).texts] == ["every norm is zero or not finite"]


def test_a_run_of_one_step_shows_its_points() -> None:
    axes = draw(records(1, names(1)))
    assert {line.get_marker() for line in axes.lines} == {"o"}
    assert axes.get_xlim() == (0, 2)


def test_a_long_run_is_drawn_as_medians_and_says_so() -> None:
    # 1,200 steps in 120 groups of 10, compared with numpy's median of the raw norms.
    steps = records(1200, ["0.weight"])
    axes = draw(steps)
    x, y = lines(axes)["0.weight"]
    raw = np.array([step.gradient_norm["0.weight"] for step in steps]).reshape(120, 10)
    assert x == list(range(10, 1201, 10))
    assert y == np.median(raw, axis=1).tolist()
    assert axes.get_title(loc="left").endswith("(median of 10 steps; band: smallest to largest)")
    lowest = min(path.vertices[:, 1].min() for band in axes.collections for path in band.get_paths())
    assert lowest == raw.min()


@pytest.mark.parametrize(("steps", "layers"), [(1, 1), (50, 2), (130, 20)])
def test_the_file_is_a_png_of_the_stated_size(tmp_path: Path, steps: int, layers: int) -> None:
    from PIL import Image

    gradient_figure(records(steps, names(layers)), tmp_path / "gradients.png")
    with Image.open(tmp_path / "gradients.png") as image:
        assert (image.format, image.size) == ("PNG", (1200, 672))
        # The picture is not empty: the frame and the letters alone cover about 1 % of it.
        ink = np.asarray(image.convert("L")) < 250
        assert ink.mean() > 0.005


def test_the_directory_contains_only_the_picture(tmp_path: Path) -> None:
    (tmp_path / "gradients.png").write_text("of an earlier run")
    with (tmp_path / "gradients.png").open() as earlier:
        gradient_figure(records(3, names(1)), tmp_path / "gradients.png")
        # The earlier file was replaced, not overwritten: a reader that has it open still reads all of it.
        assert earlier.read() == "of an earlier run"
    assert [path.name for path in tmp_path.iterdir()] == ["gradients.png"]
    assert (tmp_path / "gradients.png").read_bytes().startswith(b"\x89PNG")


def test_a_failed_write_leaves_the_earlier_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Figure, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"\x89PNG")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    (tmp_path / "gradients.png").write_text("of an earlier run")
    with pytest.raises(InputError, match="No space left on device"):
        gradient_figure(records(3, names(1)), tmp_path / "gradients.png")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"gradients.png": "of an earlier run"}


def test_bad_input_raises_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^The run has no step, .* train for at least one step\.$"):
        gradient_figure([], tmp_path / "g.png")
    with pytest.raises(InputError, match=r"^The picture '.*g.png' cannot be written \(No such file or directory\): "):
        gradient_figure(records(1, names(1)), tmp_path / "nowhere" / "g.png")


def test_the_global_state_of_matplotlib_is_unchanged(tmp_path: Path) -> None:
    # pyplot keeps a reference to each figure and selects a window system; importing nets must do neither.
    script = (
        "import sys, nets.telemetry.figures.descent_figures as f\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from nets.records.contributions import Accumulation\n"
        "from nets.records.step import Step\n"
        "f.gradient_figure([Step.of(1, 1, 1.0, {'w': 1.0}, {'w': 1.0}, Accumulation((), ()))], sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    here = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "g.png")]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
