"""torchrun with two processes: the weights of one process, one run directory, and a prompt end if a rank dies."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from running import Descent, events
from safetensors.torch import load_file

import train

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for a rank in /proc")

# The settings with the shortest verification at the beginning of a run.
QUICK = (
    "experiment=accumulated",
    "run_dir=here",
    "dtype=float64",
    "verification.samples=1",
    "verification.coverage=auto",
)


def torchrun(folder: Path, *settings: str) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr=127.0.0.1",
        "--nproc_per_node=2",
    ]
    root, without = train.CONFIGS.parent, folder.parent / f"{folder.name}_without"
    without.mkdir()
    # Python runs this file at its start. Without it, a certificate loads two packages, which takes seconds.
    (without / "sitecustomize.py").write_text("import sys\n\nsys.modules.update(tensorflow=None, jax=None)\n")
    variables = {
        "HYDRA_FULL_ERROR": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(without), str(root)]),
    }
    return subprocess.Popen(
        [*command, str(root / "train.py"), *QUICK, *settings],
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of a hundred steps: its directory and its output."""
    folder = tmp_path_factory.mktemp("torchrun")
    process = torchrun(folder, "descent.epochs=null", "descent.steps=100")
    said, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    return folder / "here", said


def test_the_weights_equal_those_of_a_single_process(finished: tuple[Path, str]) -> None:
    """Batches of 50 in micro-batches of 16, 16, 16 and 2, so the ranks have 32 and 18 samples; an epoch ends in 38."""
    alone = Descent("experiment=accumulated", "dtype=float64", "descent.epochs=null", "descent.steps=100")
    alone.end()
    weights = load_file(finished[0] / "weights.safetensors")
    for name, parameter in alone.network.named_parameters():
        assert weights[name].dtype == torch.float64
        torch.testing.assert_close(weights[name], parameter.detach(), rtol=1e-12, atol=1e-12)


def test_both_ranks_share_one_directory_one_event_file_and_one_output(finished: tuple[Path, str]) -> None:
    directory, said = finished
    assert len([path for path in directory.iterdir() if "tfevents" in path.name]) == 1
    assert [path.name for path in directory.parent.iterdir()] == ["here"]
    assert [event.step for event in events(directory).Scalars("loss/train")] == list(range(1, 101))
    assert len(re.findall(r"^step +100/100", said, re.MULTILINE)) == 1 and said.count("TensorBoard ") == 1


def test_each_contribution_comes_from_one_rank(finished: tuple[Path, str]) -> None:
    board = events(finished[0])
    alone = Descent("experiment=accumulated", "dtype=float64", "descent.epochs=null", "descent.steps=30")
    tags = set(board.Tags()["scalars"])
    assert {
        "accumulation/0.weight/norm rank 0",
        "accumulation/0.weight/norm rank 1",
        "accumulation/0.bias/cosine rank 1",
    } < tags
    weights = {r: [e.value for e in board.Scalars(f"accumulation/weight rank {r}")] for r in (0, 1)}
    for step, zero, one in zip(alone.steps, *weights.values(), strict=False):
        sizes = step.accumulation.sizes
        assert (zero, one) == pytest.approx((sum(sizes[::2]) / sum(sizes), sum(sizes[1::2]) / sum(sizes)))
    residuals = [e.value for name in ("0.weight", "0.bias") for e in board.Scalars(f"accumulation/{name}/residual")]
    assert len(residuals) == 200 and 0 < max(residuals) < 1e-14
    assert "2 contributions to a gradient" in finished[1] and "exact to rounding" in finished[1]


def rank_of(parent: int, rank: int, patience: float = 60) -> int:
    """The process of a rank, started by torchrun."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                ancestor = re.search(r"\) \S+ (\d+)", (path / "stat").read_text())
                environment = (path / "environ").read_bytes().split(b"\0")
            except (OSError, ProcessLookupError):
                continue
            if ancestor and int(ancestor[1]) == parent and f"RANK={rank}".encode() in environment:
                return int(path.name)
        time.sleep(0.1)
    raise TimeoutError


def going_on(folder: Path) -> "subprocess.Popen[str]":
    """A run that has made some steps and has many more to make."""
    process = torchrun(folder, "descent.epochs=100000")
    while not any("tfevents" in path.name for path in folder.glob("here/*")) or len(recorded(folder)) <= 20:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    return process


def recorded(folder: Path) -> list[int]:
    board = events(folder / "here")
    return [event.step for event in board.Scalars("loss/train")] if "loss/train" in board.Tags()["scalars"] else []


# The other tests of how a run ends take a minute or two; `make matrix` runs them.


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.matrix), 1])
def test_a_dead_rank_ends_the_run_and_is_named(rank: int, tmp_path: Path) -> None:
    process = going_on(tmp_path)
    try:
        dying = rank_of(process.pid, rank)
        os.kill(dying, signal.SIGKILL)
        began = time.monotonic()
        _, complaints = process.communicate(timeout=90)
    finally:
        process.kill()
    assert time.monotonic() - began < 60 and process.returncode != 0
    where = "; what was recorded is in here" if rank == 1 else ""
    assert f"rank {rank} (process {dying}) has died; the run has ended with it{where}.\n" in complaints
    assert complaints.count(" has died") == 1
    steps = recorded(tmp_path)
    assert len(steps) > 20 and steps == list(range(1, len(steps) + 1))


@pytest.mark.matrix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_message_of_an_interrupted_run_names_no_rank(number: signal.Signals, tmp_path: Path) -> None:
    process = going_on(tmp_path)
    try:
        process.send_signal(number)
        _, complaints = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0 and "has died" not in complaints
    steps = recorded(tmp_path)
    assert len(steps) > 20 and steps == list(range(1, len(steps) + 1))


@pytest.mark.matrix
def test_a_hanging_rank_ends_the_run_and_is_named(tmp_path: Path) -> None:
    process = going_on(tmp_path)
    stopped = rank_of(process.pid, 1)
    try:
        os.kill(stopped, signal.SIGSTOP)
        began = time.monotonic()
        _, complaints = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stopped, signal.SIGKILL)
        process.kill()
    # torchrun waits half a minute for the processes that it ends; it reports the error before that.
    assert time.monotonic() - began < 100 and process.returncode != 0
    assert (
        f"rank 1 (process {stopped}) does not answer; the run has ended with it; what was recorded is in here.\n"
        in complaints
    )
    steps = recorded(tmp_path)
    assert len(steps) > 20 and steps == list(range(1, len(steps) + 1))


@pytest.mark.matrix
def test_a_wrong_setting_is_reported_once(tmp_path: Path) -> None:
    process = torchrun(tmp_path, "descent.learning_rate=-1")
    said, complaints = process.communicate(timeout=60)
    assert process.returncode != 0 and said == ""
    assert complaints.count("learning_rate is -1; expected a finite number above 0.\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_divergence_is_reported_once(tmp_path: Path) -> None:
    process = torchrun(tmp_path, "experiment=linear", "descent.learning_rate=1e60")
    said, complaints = process.communicate(timeout=60)
    assert process.returncode != 0 and said.count("step ") < 30
    pattern = r"^step \d+: the loss is .*; expected finite numbers: lower the learning rate .* is in here\.$"
    assert len(re.findall(pattern, complaints, re.MULTILINE)) == 1
    assert (tmp_path / "here" / "gradients.png").exists() and recorded(tmp_path)[0] == 1
