"""The output of train.py: what a run writes and prints, and how it ends after an error or an interruption."""

import contextlib
import functools
import io
import json
import math
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from quick_gradcheck import quick_gradcheck
from running import Descent, command_line, events
from safetensors.torch import load_file
from torch import Tensor, nn

from nets.calculus.layers import Tanh
from nets.telemetry.tensorboard.board import Board

Run = Callable[..., None]

LEFT_BY_A_BROKEN_RUN = {"certificate.json", "config.yaml", "jacobians.png", "gradients.png", "flow.png"}
"""The files of a run that ended after some of its steps."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function run(setting, …): runs `python train.py setting …` in the folder `tmp_path`."""
    quick_gradcheck(monkeypatch)
    return functools.partial(command_line, monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A complete run of `python train.py`: its directory and its output."""
    folder, said = tmp_path_factory.mktemp("main_job"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        command_line(patch, folder)
    (directory,) = (folder / "runs" / "tanh_linear").iterdir()
    return directory, said.getvalue()


# Every number of every step.


def test_the_event_file_holds_every_number_of_every_step(main_job: tuple[Path, str]) -> None:
    # An Event holds the nearest float32. The numbers of the held-out samples are written at 50 steps or a few more.
    board, descent = events(main_job[0]), Descent()
    evaluated = {event.step for event in board.Scalars("loss/test")}
    assert evaluated == {1, *range(18, 901, 18)}
    expected: dict[str, list[tuple[int, float]]] = {}
    for step in descent.steps:
        numbers = {"loss/train": step.loss, "gradient_norm/total": step.total_gradient_norm}
        numbers["learning_rate"] = step.learning_rate
        numbers |= {f"gradient_norm/{name}": norm for name, norm in step.gradient_norm.items()}
        numbers |= {f"update_ratio/{name}": ratio for name, ratio in step.update_ratio.items()}
        if step.step in evaluated:
            held_out = descent.held_out()
            assert held_out.accuracy is not None
            numbers |= {"loss/test": held_out.loss, "accuracy/test": held_out.accuracy}
        for tag, number in numbers.items():
            expected.setdefault(tag, []).append((step.step, float(np.float32(number))))
    tags = [tag for tag in board.Tags()["scalars"] if not is_of_a_snapshot(tag)]
    assert {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in tags} == expected
    assert len(expected["loss/train"]) == 900  # 20 epochs of 1,438 samples in batches of 32
    assert math.isinf(expected["update_ratio/0.bias"][0][1])  # a bias starts at zero


def test_the_event_file_holds_histograms_and_texts(main_job: tuple[Path, str]) -> None:
    board = events(main_job[0])
    assert set(board.Tags()["histograms"]) == {
        f"histogram/{kind}/{name}" for kind in ("parameter", "gradient") for name in ("0.weight", "0.bias")
    }
    assert [event.step for event in board.Histograms("histogram/gradient/0.weight")] == [1, 180, 360, 540, 720, 900]
    texts = {
        tag: b"".join(board.Tensors(tag)[0].tensor_proto.string_val).decode()
        for tag in board.Tags()["tensors"]
        if tag.startswith("run/")
    }
    assert texts.keys() == {"run/certificate", "run/config", "run/diagnosis"}
    assert "∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j" in texts["run/certificate"] and "**pass**" in texts["run/certificate"]
    assert (main_job[0] / "config.yaml").read_text("utf-8").strip() in texts["run/config"]
    assert texts["run/diagnosis"].startswith("**healthy**\n") and "\n0  Tanh " in texts["run/diagnosis"]


def test_the_event_file_holds_the_pictures_of_the_run_directory(main_job: tuple[Path, str]) -> None:
    board = events(main_job[0])
    pictures = {tag: board.Images(tag)[0].encoded_image_string for tag in board.Tags()["images"]}
    assert pictures == {f"run/{path.stem}": path.read_bytes() for path in main_job[0].glob("*.png")}
    assert pictures.keys() == {"run/jacobians", "run/gradients", "run/flow", "run/saturation"}


def test_the_event_file_holds_about_fifty_snapshots_of_every_layer(
    main_job: tuple[Path, str],
) -> None:
    # The last snapshot, against autograd and numpy at the final weights; a snapshot uses the first 256 samples.
    board, descent = events(main_job[0]), Descent()
    descent.network.load_state_dict(load_file(main_job[0] / "weights.safetensors"))
    x = descent.data.train.inputs[:256].clone().requires_grad_()
    y = descent.network(x)
    y.retain_grad()
    descent.loss(y, descent.data.train.targets[:256]).backward()
    assert y.grad is not None and x.grad is not None
    slope = 1 - y.detach().double().numpy() ** 2
    expected = {
        "cotangent/0": float(y.grad.norm()),
        "attenuation/0/measured": float(y.grad.norm() / x.grad.norm()),
        "attenuation/0/predicted": 10**0.5
        / float(np.sqrt((slope**2).mean()) * descent.network[0].weight.detach().norm()),
        "slope/1/rms": float(np.sqrt((slope**2).mean())),
        "slope/1/flat": float((slope < 0.01).mean()),
        "slope/1/dead": 0.0,
    }
    found = {tag: board.Scalars(tag) for tag in board.Tags()["scalars"] if is_of_a_snapshot(tag)}
    assert {tag: series[-1].value for tag, series in found.items()} == pytest.approx(expected, rel=1e-3)
    assert {tuple(event.step for event in series) for series in found.values()} == {(0, 1, *range(18, 901, 18))}


def is_of_a_snapshot(tag: str) -> bool:
    return tag.split("/")[0] in {"cotangent", "attenuation", "slope"}


# The report of a run is true.


def test_the_main_job_returns_the_network_that_it_reports(main_job: tuple[Path, str]) -> None:
    directory, said = main_job
    layers = nn.Sequential(nn.Linear(64, 10), nn.Tanh())
    layers.load_state_dict(load_file(directory / "weights.safetensors"))
    data = Descent().data
    right = (layers(data.test.inputs).argmax(1) == data.test.targets.argmax(1)).double().mean().item()
    assert right >= 0.93
    assert row("accuracy", said) == f"{right:.2%} of the 359 samples held out"
    assert events(directory).Scalars("accuracy/test")[-1].value == np.float32(right)


def test_the_main_job_prints_what_it_did(main_job: tuple[Path, str]) -> None:
    directory, said = main_job
    certificate = json.loads((directory / "certificate.json").read_text("utf-8"))
    assert certificate["verdict"] == "pass" and row("certificate", said).startswith("pass: 36,240 entries")
    assert "∂Y_k/∂B_i = δ_ki (1 − Y_k²) " in said
    assert "\nstep 900/900  epoch 20 " in said
    where = f"runs/tanh_linear/{directory.name}"
    assert row("run", said) == where
    # The last line is the next command, with the path of the environment that ran this.
    program, *arguments = shlex.split(row("TensorBoard", said))
    assert shutil.which(program) is not None and arguments == ["--logdir", where]
    assert said.splitlines()[-1].startswith("TensorBoard ")


def test_a_number_is_explained(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    # As a shell passes it on, without the quotes of explain='0.weight[2,3]'.
    run("experiment=teacher", "explain=0.weight[2,3]", "explanation.sample=4", "descent.epochs=1", "run_dir=here")
    text = (tmp_path / "here" / "explanation.txt").read_text("utf-8")
    assert text in capsys.readouterr().out
    assert text.startswith("∂Y_2/∂0.weight[2,3] at sample 4 = ") and "∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j" in text
    assert {"explanation.html", "backward.html", "backward.svg"} <= other_files_in(tmp_path / "here")


def row(title: str, said: str) -> str:
    found = re.search(rf"^{title} +(.+)$", said, re.MULTILINE)
    assert found is not None, said
    return found[1]


class StoppedClock(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "StoppedClock":
        return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)


def test_runs_without_a_name_use_separate_directories(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second run starts in the same second and takes another name; the first run's files are unchanged.
    monkeypatch.setattr("nets.telemetry.tensorboard.directory.datetime", StoppedClock)
    settings = "experiment=teacher", "descent.steps=1", "verification.samples=1"
    run(*settings)
    (first,) = (tmp_path / "runs" / "teacher").iterdir()
    before = {path: path.read_bytes() for path in first.iterdir()}
    run(*settings)
    (second,) = set((tmp_path / "runs" / "teacher").iterdir()) - {first}
    assert (first.name, second.name) == ("2026-01-02_03-04-05", "2026-01-02_03-04-05_2")
    assert {path: path.read_bytes() for path in first.iterdir()} == before
    assert (second / "weights.safetensors").read_bytes() == (first / "weights.safetensors").read_bytes()


def test_one_command_starts_several_runs(run: Run, tmp_path: Path) -> None:
    run("-m", "experiment=teacher", "seed=0,1", "descent.steps=1", "verification.samples=1")
    one, other = (path / "config.yaml" for path in (tmp_path / "runs" / "teacher").iterdir())
    assert {OmegaConf.load(path).seed for path in (one, other)} == {0, 1}
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


# A wrong derivative.


@pytest.mark.parametrize("fault", [-1.0, 1.001])
def test_a_wrong_derivative_stops_the_run(
    fault: float, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def slope(self: Tanh, z: Tensor, y: Tensor) -> Tensor:
        return fault * (1 - y * y)

    monkeypatch.setattr(Tanh, "slope", slope)
    with pytest.raises(SystemExit) as ended:
        run("experiment=teacher", "run_dir=here")
    assert ended.value.code == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("fail: ") and "`1` (Tanh): Tanh.slope" in sentence
    assert re.search(r" ∂Y\[\d, \d\] / ∂0\.weight\[\d, \d+\]: closed form gives \S+ where [a-z ]+ gives ", sentence)
    assert sentence.endswith("; no step was made, and the certificate is in here.")
    certificate = json.loads((tmp_path / "here" / "certificate.json").read_text("utf-8"))
    assert certificate["verdict"] == "fail"
    assert not (tmp_path / "here" / "weights.safetensors").exists()
    assert events(tmp_path / "here").Tags()["scalars"] == []


# Runs that end early.


def end_of(run: Run, capsys: pytest.CaptureFixture[str], *settings: str) -> tuple[object, str]:
    """Status and stderr."""
    with pytest.raises(SystemExit) as ended:
        run("experiment=linear", *settings, "run_dir=here")
    return ended.value.code, capsys.readouterr().err


def steps_in(directory: Path) -> list[int]:
    return [event.step for event in events(directory).Scalars("loss/train")]


def other_files_in(directory: Path) -> set[str]:
    """The files of a run other than its event file."""
    return {path.name for path in directory.iterdir() if "tfevents" not in path.name}


def test_a_diverging_run_ends_with_a_sentence_and_keeps_its_records(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # Each step multiplies the error by about η times the curvature, 1e6: after about seven steps, 1 has grown beyond
    # 3e38, the largest float32.
    status, said = end_of(run, capsys, "descent.learning_rate=1e6")
    pattern = (
        r"step (\d+): the loss is .+; expected finite numbers: lower the learning rate \(1e\+06\), .+ is in here\.\n"
    )
    found = re.fullmatch(pattern, said)
    assert status == 1 and found is not None, said
    assert steps_in(tmp_path / "here") == list(range(1, int(found[1]) + 1)) and int(found[1]) < 20
    assert other_files_in(tmp_path / "here") == LEFT_BY_A_BROKEN_RUN


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Restores Python's own handler of Ctrl-C; a shell makes its background jobs ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_keeps_its_records(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # Ctrl-C sends SIGINT. A shell reports status 130 for a program that SIGINT ended: 128 + 2.
    write = Board.write

    def write_and_interrupt(board: Board, step: Any, **seen: Any) -> None:
        write(board, step, **seen)
        if step.step == 10:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Board, "write", write_and_interrupt)
    assert end_of(run, capsys) == (130, "interrupted; what was recorded is in here.\n")
    assert steps_in(tmp_path / "here") == list(range(1, 11))
    assert other_files_in(tmp_path / "here") == LEFT_BY_A_BROKEN_RUN


@pytest.mark.usefixtures("interruptible")
def test_a_run_interrupted_before_its_first_step_writes_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("nets.verification.chosen.verify", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert end_of(run, capsys) == (130, "interrupted; nothing was recorded.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_in_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "here/events")

    monkeypatch.setattr(Board, "write", write)
    expected = (
        "'here/events' cannot be read or written (No space left on device): "
        "correct that, or set run_dir to another directory.\n"
    )
    assert end_of(run, capsys) == (1, expected)


def test_an_error_in_the_library_shows_its_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("nets.verification.chosen.verify", lambda *_, **__: 1 / 0)
    status, said = end_of(run, capsys)
    assert status == 1
    assert said.startswith("Traceback ") and said.endswith("ZeroDivisionError: division by zero\n")
    assert list(tmp_path.iterdir()) == []
