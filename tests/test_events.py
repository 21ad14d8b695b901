"""The event file, read back with TensorBoard's own reader."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from nets.errors import InputError
from nets.telemetry.tensorboard.events import PNG_SIGNATURE, EventFile, histogram_values


def read(log_dir: Path) -> EventAccumulator:
    # 0 keeps everything; the default thins scalars out to 10,000 and tensors to 10.
    return EventAccumulator(str(log_dir), size_guidance=dict.fromkeys(("scalars", "tensors", "histograms"), 0)).Reload()


def events(path: Path) -> list[Event]:
    """The Events as they are in the file, before any reader rearranges them."""
    return [Event.FromString(raw) for raw in RawEventFileLoader(str(path)).Load()]


def float32(number: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(number))


@pytest.mark.parametrize(
    "number", [0.1, 1 / 3, -2.5e-30, 1e-46, 3.4e38, 1e300, 0.0, math.inf, -math.inf], ids=lambda n: f"{n:g}"
)
def test_a_number_is_written_as_the_nearest_float32(tmp_path: Path, number: float) -> None:
    # simple_value is a `float` in TensorBoard's summary.proto; numpy rounds independently of protobuf.
    with EventFile(tmp_path) as file:
        file.scalars(3, {"x": number})
    (event,) = read(tmp_path).Scalars("x")
    assert (event.step, event.value) == (3, float32(number))


def test_nan_is_written_as_nan(tmp_path: Path) -> None:
    with EventFile(tmp_path) as file:
        file.scalars(1, {"x": math.nan})
    assert math.isnan(read(tmp_path).Scalars("x")[0].value)


def test_each_call_writes_one_event_for_any_number_of_tags(tmp_path: Path) -> None:
    before = time.time()
    with EventFile(tmp_path) as file:
        for step in range(1, 31):
            file.scalars(step, {f"tag/{i}": step + i / 8 for i in range(9)})
    header, *written = events(file.path)
    assert header.file_version == "brain.Event:2"  # below version 2 a reader drops events out of order
    assert [event.step for event in written] == list(range(1, 31))
    assert all(before <= event.wall_time <= time.time() for event in written)
    assert [[value.simple_value for value in event.summary.value] for event in written] == [
        [step + i / 8 for i in range(9)] for step in range(1, 31)
    ]


def test_a_reader_finds_every_step_of_a_long_run(tmp_path: Path) -> None:
    with EventFile(tmp_path) as file:
        for step in range(10_500):
            file.scalars(step, {"x": step})
    assert [event.value for event in read(tmp_path).Scalars("x")] == list(range(10_500))


def test_text_is_written_unchanged(tmp_path: Path) -> None:
    markdown = "**∂Y_k/∂W_ij** = δ_ki (1 − Y_k²) X_j\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    with EventFile(tmp_path) as file:
        file.text("certificate", markdown)
    accumulator = read(tmp_path)
    (event,) = accumulator.Tensors("certificate")
    assert event.tensor_proto.string_val[0].decode() == markdown
    assert accumulator.SummaryMetadata("certificate").plugin_data.plugin_name == "text"


def test_an_image_is_written_with_its_size(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (7, 5), "red").save(tmp_path / "red.png")
    png = (tmp_path / "red.png").read_bytes()
    with EventFile(tmp_path) as file:
        file.image("picture", png, 4)
    (event,) = read(tmp_path).Images("picture")
    assert (event.step, event.width, event.height, event.encoded_image_string) == (4, 7, 5, png)


@pytest.mark.parametrize("png", [b"", b"GIF89a" + b"\0" * 40, PNG_SIGNATURE], ids=["empty", "gif", "cut short"])
def test_a_picture_other_than_png_is_refused_in_a_sentence(tmp_path: Path, png: bytes) -> None:
    with (
        EventFile(tmp_path) as file,
        pytest.raises(InputError, match=r"^The picture 'p' begins with .* save it as PNG\.$"),
    ):
        file.image("p", png, 1)


def test_a_histogram_of_known_numbers_has_the_right_buckets(tmp_path: Path) -> None:
    # 64 buckets over [-1, 1]: -1 is in the first, 0.99 and 1 in the last, and 0.5 is where bucket 48 begins.
    with EventFile(tmp_path) as file:
        file.histogram("h", torch.tensor([[-1.0, 1.0], [0.99, 0.5]], dtype=torch.float64), 2)
    (event,) = read(tmp_path).Histograms("h")
    histogram = event.histogram_value
    assert (event.step, histogram.num, histogram.min, histogram.max) == (2, 4, -1, 1)
    assert histogram.sum == pytest.approx(1.49, rel=1e-15)
    assert histogram.sum_squares == pytest.approx(1 + 1 + 0.99**2 + 0.25, rel=1e-15)
    assert {place: n for place, n in enumerate(histogram.bucket) if n} == {0: 1, 48: 1, 63: 2}
    assert histogram.bucket_limit == pytest.approx([-1 + (i + 1) / 32 for i in range(64)], rel=1e-15)


def test_a_histogram_counts_non_finite_numbers_apart(tmp_path: Path) -> None:
    # torch.utils.tensorboard raises on such a tensor.
    with EventFile(tmp_path) as file:
        file.histogram("h", torch.tensor([math.nan, 1.0, math.inf, 2.0, -math.inf]), 1)
        file.histogram("nothing", torch.full((4,), math.nan), 1)
        file.histogram("healthy", torch.arange(3.0), 1)
    accumulator = read(tmp_path)
    (event,) = accumulator.Histograms("h")
    assert (event.histogram_value.num, event.histogram_value.min, event.histogram_value.max) == (2, 1, 2)
    assert accumulator.Scalars("not_finite/h")[0].value == 3
    assert accumulator.Scalars("not_finite/nothing")[0].value == 4
    assert accumulator.Tags()["histograms"] == ["h", "healthy"]
    assert accumulator.Tags()["scalars"] == ["not_finite/h", "not_finite/nothing"]


def test_a_histogram_may_span_more_than_the_largest_float() -> None:
    # 1.7e308 − (−1.7e308) overflows; a histogram over it would have limits of infinity and NaN.
    (value,) = histogram_values("h", torch.tensor([-1.7e308, 0.0, 1.7e308], dtype=torch.float64))
    assert {place: n for place, n in enumerate(value.histo.bucket) if n} == {0: 1, 32: 1, 63: 1}
    assert np.isfinite(value.histo.bucket_limit).all()


@given(st.lists(st.floats(), max_size=40), st.sampled_from([torch.float16, torch.float32, torch.float64]))
@settings(max_examples=200, deadline=None)
def test_every_finite_number_is_in_one_bucket(numbers: list[float], dtype: torch.dtype) -> None:
    tensor = torch.tensor(numbers, dtype=torch.float64).to(dtype)
    finite = tensor[tensor.isfinite()].double()
    values = histogram_values("h", tensor)
    histograms = [value.histo for value in values if value.HasField("histo")]
    counts = [value.simple_value for value in values if value.HasField("simple_value")]
    assert sum(counts) == len(tensor) - len(finite)
    assert len(histograms) == (len(finite) > 0)
    for histogram in histograms:
        assert sum(histogram.bucket) == histogram.num == len(finite)
        assert (histogram.min, histogram.max) == (finite.min(), finite.max())
        assert list(histogram.bucket_limit) == sorted(histogram.bucket_limit)
        assert math.isfinite(histogram.bucket_limit[-1])


def test_events_are_on_disk_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), EventFile(tmp_path) as file:
        file.scalars(1, {"x": 1.5})
        raise RuntimeError("boom")
    assert [event.value for event in read(tmp_path).Scalars("x")] == [1.5]
    with pytest.raises(ValueError, match="closed"):
        file.scalars(2, {"x": 2.5})
    file.close()  # closing twice has no effect


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """A process that writes events beside an installed TensorFlow until it is killed: its directory and its output."""
    directory = tmp_path_factory.mktemp("killed")
    (directory / "tensorflow").mkdir()
    (directory / "tensorflow" / "__init__.py").write_text("raise AssertionError('TensorFlow was imported')")
    script = (
        "import os, signal, sys, torch\n"
        "from nets.telemetry.tensorboard.events import EventFile\n"
        "file = EventFile(sys.argv[1])\n"
        "file.text('t', 'text'); file.histogram('h', torch.ones(3), 1)\n"
        "for step in range(1, 101): file.scalars(step, {'x': step})\n"
        "print('tensorflow' in sys.modules, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    python_path = os.pathsep.join([str(directory), str(Path(__file__).resolve().parents[1])])
    command = [sys.executable, "-W", "error", "-c", script, str(directory / "log")]
    environment = {**os.environ, "PYTHONPATH": python_path}
    return directory / "log", subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_events_are_on_disk_after_sigkill(killed: tuple[Path, "subprocess.CompletedProcess[str]"]) -> None:
    log_dir, process = killed
    assert process.returncode == -9, process.stderr
    assert [event.value for event in read(log_dir).Scalars("x")] == list(range(1, 101))


def test_an_installed_tensorflow_is_not_imported(
    killed: tuple[Path, "subprocess.CompletedProcess[str]"],
) -> None:
    # TensorBoard imports TensorFlow, which takes seconds, as soon as its own file layer is used.
    _, process = killed
    assert (process.stdout, process.stderr) == ("False\n", "")


@pytest.mark.parametrize("cut", [1, 17, 38])
def test_a_truncated_file_is_readable_up_to_its_end(tmp_path: Path, cut: int) -> None:
    with EventFile(tmp_path) as file:
        for step in range(1, 6):
            file.scalars(step, {"x": step})
    file.path.write_bytes(file.path.read_bytes()[:-cut])  # the last record: 16 bytes of frame, 23 of Event
    assert [event.value for event in read(tmp_path).Scalars("x")] == [1, 2, 3, 4]


def test_two_writers_in_one_directory_use_separate_files(tmp_path: Path) -> None:
    with EventFile(tmp_path) as one, EventFile(tmp_path) as other:
        one.scalars(1, {"one": 1})
        other.scalars(1, {"other": 2})
    assert one.path != other.path
    assert read(tmp_path).Tags()["scalars"] == ["one", "other"]


def test_a_directory_that_cannot_be_made_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"^The TensorBoard directory '.*file/runs' cannot be written \(Not a directory\): "
    ):
        EventFile(tmp_path / "file" / "runs")
