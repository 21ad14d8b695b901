"""A run in TensorBoard, read back and compared with its records."""

import gc
import math
import os
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from nets.errors import InputError
from nets.records.certificate import Certificate, Check
from nets.records.contributions import Accumulation
from nets.records.step import Step
from nets.telemetry.tensorboard.board import Board
from tests.stepping import changed

NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")


def records(count: int) -> list[Step]:
    """Steps with numbers that no float32 holds exactly."""
    generator = np.random.default_rng(0)
    steps = []
    for number in range(1, count + 1):
        norms = dict(zip(NAMES, generator.lognormal(-3, 4, len(NAMES)).tolist(), strict=True))
        ratios = dict(zip(NAMES, generator.lognormal(-6, 2, len(NAMES)).tolist(), strict=True))
        loss = float(generator.exponential())
        steps.append(Step.of(number, 1 + number // 7, loss, norms, ratios, Accumulation((4,), (1.0,))))
    return steps


def read(log_dir: Path) -> EventAccumulator:
    return EventAccumulator(str(log_dir), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0}).Reload()


def events(log_dir: Path) -> list[Event]:
    (path,) = log_dir.iterdir()
    return [Event.FromString(raw) for raw in RawEventFileLoader(str(path)).Load()]


def series(accumulator: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_the_file_holds_every_number_of_every_step(tmp_path: Path) -> None:
    # The page and its reader hold float32. NumPy rounds independently, so the comparison is exact.
    steps = records(60)
    with Board(tmp_path) as board:
        for step in steps:
            board.write(step)
    accumulator = read(tmp_path)
    wanted = {"loss/train": [(s.step, np.float32(s.loss)) for s in steps]}
    wanted["gradient_norm/total"] = [(s.step, np.float32(s.total_gradient_norm)) for s in steps]
    for name in NAMES:
        wanted[f"gradient_norm/{name}"] = [(s.step, np.float32(s.gradient_norm[name])) for s in steps]
        wanted[f"update_ratio/{name}"] = [(s.step, np.float32(s.update_ratio[name])) for s in steps]
    assert {tag: series(accumulator, tag) for tag in accumulator.Tags()["scalars"]} == wanted


def test_a_step_with_an_evaluation_and_histograms_is_one_event(tmp_path: Path) -> None:
    parameters = {name: torch.arange(6.0) for name in NAMES}
    with Board(tmp_path) as board:
        for step in records(20):
            extra = {"parameters": parameters, "gradients": parameters} if step.step % 10 == 0 else {}
            tested = {"test_loss": step.loss * 2, "test_accuracy": 0.9} if step.step % 5 == 0 else {}
            board.write(step, **tested, **extra)
    per_step = Counter(event.step for event in events(tmp_path) if event.step > 0)
    assert per_step == dict.fromkeys(range(1, 21), 1)


def test_an_evaluation_is_written_alone_or_with_a_step(tmp_path: Path) -> None:
    first, second = records(2)
    with Board(tmp_path) as board:
        board.evaluation(0, 2.5, 0.0)
        board.write(first)
        board.write(second, test_loss=1.5, test_accuracy=0.75)
    accumulator = read(tmp_path)
    assert series(accumulator, "loss/test") == [(0, 2.5), (2, 1.5)]
    assert series(accumulator, "accuracy/test") == [(0, 0.0), (2, 0.75)]


def test_regression_has_no_accuracy(tmp_path: Path) -> None:
    (step,) = records(1)
    with Board(tmp_path) as board:
        board.evaluation(0, 2.5)
        board.write(step, test_loss=1.5, test_accuracy=None)
    assert "accuracy/test" not in read(tmp_path).Tags()["scalars"]


def test_non_finite_numbers_are_written_unchanged(tmp_path: Path) -> None:
    (step,) = records(1)
    with Board(tmp_path) as board:
        board.write(changed(step, loss=math.nan, gradient_norm=dict.fromkeys(NAMES, math.inf)))
    accumulator = read(tmp_path)
    assert math.isnan(accumulator.Scalars("loss/train")[0].value)
    assert accumulator.Scalars("gradient_norm/total")[0].value == math.inf


def test_parameters_and_gradients_have_histograms(tmp_path: Path) -> None:
    weight, bias = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0.0, math.nan])
    with Board(tmp_path) as board:
        board.histograms(0, {"0.weight": weight})
        board.histograms(7, {"0.weight": weight}, {"0.weight": -weight, "0.bias": bias})
    accumulator = read(tmp_path)
    drawn = accumulator.Histograms("histogram/parameter/0.weight")
    assert [event.step for event in drawn] == [0, 7]
    assert drawn[0].histogram_value.num == 15
    assert drawn[0].histogram_value.max == weight.max()
    assert accumulator.Histograms("histogram/gradient/0.weight")[0].histogram_value.max == -weight.min()
    assert series(accumulator, "not_finite/histogram/gradient/0.bias") == [(7, 1)]


def text(log_dir: Path, tag: str) -> str:
    (event,) = read(log_dir).Tensors(tag)
    return event.tensor_proto.string_val[0].decode()


def test_the_text_page_shows_the_certificate_as_printed(tmp_path: Path) -> None:
    check = Check(
        "0.weight", "closed form", "reverse mode", 6, 0, 1e-16, 2e-16, (0, 1, 2), 0.5, 0.5, 1e-12, 1e-9, "pass"
    )
    certificate = Certificate((check,), {"0.weight": "∂Y_k/∂W_ij = δ_ki X_j"})
    with Board(tmp_path) as board:
        board.certificate(certificate)
    assert text(tmp_path, "run/certificate") == f"**pass**\n\n```\n{certificate}\n```"


def test_the_text_page_shows_a_config_with_backticks_unchanged(tmp_path: Path) -> None:
    # A block ends at the first fence that is as long as the opening one (CommonMark 0.31, 4.5), so that must be longer
    # than each fence in the text.
    with Board(tmp_path) as board:
        board.config("note: '```'\nsizes: [64, 10]\n")
    assert text(tmp_path, "run/config") == "````yaml\nnote: '```'\nsizes: [64, 10]\n````"


def test_custom_scalars_have_a_chart_for_each_kind(tmp_path: Path) -> None:
    with Board(tmp_path):
        pass
    accumulator = read(tmp_path)
    assert list(accumulator.PluginTagToContent("custom_scalars")) == ["custom_scalars__config__"]
    (event,) = accumulator.Tensors("custom_scalars__config__")
    (category,) = Layout.FromString(event.tensor_proto.string_val[0]).category
    assert [list(chart.multiline.tag) for chart in category.chart] == [
        ["gradient_norm/.*"],
        ["update_ratio/.*"],
        ["loss/.*"],
        ["attenuation/.*"],
    ]


def test_a_picture_is_written_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (3, 2)).save(tmp_path / "p.png")
    with Board(tmp_path / "log") as board:
        board.picture("gradients", tmp_path / "p.png", 9)
        with pytest.raises(
            InputError, match=r"^The picture '.*none.png' cannot be read \(No such file or directory\): "
        ):
            board.picture("gradients", tmp_path / "none.png")
    (event,) = read(tmp_path / "log").Images("gradients")
    assert (event.step, event.width, event.height) == (9, 3, 2)


def test_after_an_exception_the_file_holds_every_earlier_step(tmp_path: Path) -> None:
    steps = records(5)
    with pytest.raises(KeyboardInterrupt), Board(tmp_path) as board:
        for step in steps:
            board.write(step)
        raise KeyboardInterrupt
    assert series(read(tmp_path), "loss/train") == [(s.step, np.float32(s.loss)) for s in steps]


def test_a_board_does_not_import_slow_packages() -> None:
    # Each of these imports takes a second or more.
    script = (
        "import sys, nets.telemetry.tensorboard.board\n"
        "print(*{'matplotlib', 'rich', 'tensorflow', 'pandas', 'sklearn', 'torchvision'} & sys.modules.keys())"
    )
    here = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": here}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_a_step_after_close_is_refused(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.close()
    with pytest.raises(ValueError, match="after it was closed"):
        board.write(records(1)[0])


def test_a_board_that_is_dropped_writes_its_steps_and_is_collected(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for step in records(5):
        board.write(step)
    reference = weakref.ref(board)
    del board
    gc.collect()
    assert reference() is None
    assert [step for step, _ in series(read(tmp_path), "loss/train")] == [1, 2, 3, 4, 5]
