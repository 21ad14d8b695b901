"""Every file in configs/experiment: it composes, it runs, and it reaches the figure that it is there to show.

A run is `train.main()` on a command line. Figures take many steps with several seeds, but no certificate and no files:
they are those of the same descent alone, whose records are held against a run's event file number for number.
"""

import contextlib
import io
import json
import math
import re
import shlex
import shutil
import struct
import sys
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import OmegaConf
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

import nets
import train
from nets.calculus.layers import Tanh
from nets.calculus.losses import LOSSES
from nets.telemetry.diagnosis import diagnose
from nets.training.evaluation import Evaluation, evaluate

EXPERIMENTS = sorted(path.stem for path in (train.CONFIGS / "experiment").glob("*.yaml"))
Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run(setting, …): what `python train.py setting …` does in the folder `tmp_path`."""
    # Checking every entry once more by gradcheck's slow mode takes ten times as long as all else; the main job below does.
    monkeypatch.setattr("nets.verification.gradcheck.FIRST_ORDER_BUDGET", 0)
    monkeypatch.setattr("nets.verification.gradcheck.SECOND_ORDER_BUDGET", 0)

    def started(*settings: str) -> None:
        command_line(monkeypatch, tmp_path, *settings)

    return started


def command_line(patch: pytest.MonkeyPatch, folder: Path, *settings: str) -> None:
    patch.setenv("HYDRA_FULL_ERROR", "0")  # main() sets it
    patch.chdir(folder)
    patch.setattr(sys, "argv", ["train.py", *settings])
    train.main()


@pytest.fixture(scope="module")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """`python train.py`, to the end: where it wrote, and what it said."""
    folder, said = tmp_path_factory.mktemp("main_job"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        command_line(patch, folder)
    (directory,) = (folder / "runs" / "tanh_linear").iterdir()
    return directory, said.getvalue()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST's four files, holding scikit-learn's digits: three times as large, in a frame of 2 pixels, 28 x 28."""
    root = tmp_path_factory.mktemp("images")
    (root / "MNIST" / "raw").mkdir(parents=True)
    scans, digits = load_digits(return_X_y=True)
    grey = np.kron(scans.reshape(-1, 8, 8), np.ones((3, 3))) * 255 / 16
    pixels = np.pad(grey, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    for part, chosen in (("train", np.arange(1797) % 5 > 0), ("t10k", np.arange(1797) % 5 == 0)):
        write_idx(root / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", pixels[chosen])
        write_idx(root / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", digits[chosen].astype(np.uint8))
    return root


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """00 00 08 d, the d lengths as big-endian 32-bit numbers, the bytes (LeCun, Cortes, Burges 1998)."""
    path.write_bytes(bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def composed(*overrides: str) -> dict[str, Any]:
    """The settings as the command line composes them."""
    with initialize_config_dir(str(train.CONFIGS), version_base="1.3"):
        config = compose("train", list(overrides))
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return settings


class Descent:
    """What a run would descend, without its certificate and its files."""

    def __init__(self, *overrides: str) -> None:
        settings = composed(*overrides)
        dtype = getattr(torch, settings["dtype"])
        self.data = train.load(settings["data"]).to(dtype)
        self.loss = LOSSES[settings["loss"]]()
        generator = torch.Generator().manual_seed(settings["seed"])
        self.network = nets.mlp(**settings["network"], generator=generator).to(dtype)
        self.steps = nets.descend(self.network, self.data.train, loss=self.loss, seed=settings["seed"], **settings["descent"])

    def end(self) -> list[nets.Step]:
        return list(self.steps)

    def held_out(self) -> Evaluation:
        return evaluate(self.network, self.loss, self.data.test, self.data.classes)


def root(name: str, images: Path) -> tuple[str, ...]:
    return (f"data.root={images}",) if name == "mnist" else ()


def events(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0}).Reload()


# Each file runs.


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_two_steps(name: str, run: Run, images: Path, tmp_path: Path) -> None:
    # A certificate that passes, two steps on the board, and everything that a run leaves behind.
    settings = f"experiment={name}", "descent.steps=2", "seed=3", "run_dir=here", *root(name, images)
    run(*settings)
    certificate = json.loads((tmp_path / "here" / "certificate.json").read_text("utf-8"))
    assert certificate["verdict"] == "pass"
    parameters = {check["parameter"] for check in certificate["checks"]} - {"input", "all"}
    assert parameters == load_file(tmp_path / "here" / "weights.safetensors").keys()
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "here" / "config.yaml")) == composed(*settings)
    assert (tmp_path / "here" / "gradients.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [event.step for event in events(tmp_path / "here").Scalars("loss/train")] == [1, 2]
    others = {path.name for path in (tmp_path / "here").iterdir() if "tfevents" not in path.name}
    assert others == {"certificate.json", "config.yaml", "gradients.png", "weights.safetensors"}


# Each file reaches its figure.


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "share"),
    [
        # The figures of the task. Measured with the seeds 0 to 5: 95.3 to 97.2 %.
        ("tanh_linear", 0.93),
        # A hidden layer is worth two points: 97.2 to 98.3 %.
        ("tanh_mlp", 0.95),
        # How a gradient is summed changes nothing, so the figure is that of tanh_linear.
        ("accumulated", 0.93),
        # The same scans with 784 pixels instead of 64, of which nine always agree.
        ("mnist", 0.90),
    ],
)
def test_digits_held_out_are_recognised(name: str, share: float, seed: int, images: Path) -> None:
    descent = Descent(f"experiment={name}", f"seed={seed}", *root(name, images))
    descent.end()
    accuracy = descent.held_out().accuracy
    assert accuracy is not None and accuracy >= share


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["teacher", "tanh_chain"])
def test_the_teacher_is_found(name: str, seed: int) -> None:
    # Without noise the loss is 0 at W*, B* alone, tanh being one-to-one. Measured with the seeds 0 to 9: at most 2e-6.
    descent = Descent(f"experiment={name}", f"seed={seed}")
    descent.end()
    for parameter, truth in descent.data.truth.items():
        found = descent.network.get_parameter(parameter).detach()
        assert (found - truth).norm() / truth.norm() < 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_linear_regression_gets_as_far_as_least_squares(seed: int) -> None:
    # The loss of a linear layer is a quadratic with one minimum, which torch.linalg.lstsq gives in closed form.
    descent = Descent("experiment=linear", f"seed={seed}")
    descent.end()
    learnt, held_out = descent.data.train, descent.data.test
    theta = torch.linalg.lstsq(with_ones(learnt.inputs), learnt.targets.double()).solution
    found = torch.cat([parameter.detach().reshape(1, -1) for parameter in descent.network.parameters()], 1).T
    assert (found - theta).norm() / theta.norm() < 1e-3  # at most 2e-5 measured
    smallest = float((with_ones(held_out.inputs) @ theta - held_out.targets).square().mean())
    assert descent.held_out().loss == pytest.approx(smallest, rel=1e-3)


def with_ones(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twenty_layers_that_start_too_small_learn_nothing(seed: int) -> None:
    # Chance is 10 %. Each layer shrinks what comes back to half, and 2⁻²⁰ is a millionth.
    descent = Descent("experiment=deep_tanh", f"seed={seed}")
    steps = descent.end()
    accuracy = descent.held_out().accuracy
    assert accuracy is not None and accuracy < 0.2
    for step in (steps[0], steps[-1]):
        (sentence,) = diagnose(step)
        assert sentence.startswith("gradients vanish: ")
    assert steps[0].gradient_norm["0.weight"] < 1e-4 * steps[0].gradient_norm["38.bias"]


def test_accumulated_gradients_are_those_of_whole_batches() -> None:
    # Σ_m w_m G_m with w_m = N_m / N is the gradient of the batch: in float64, two runs drift apart by rounding alone.
    settings = "experiment=accumulated", "descent.epochs=4", "dtype=float64"
    pieces, whole = (Descent(*settings, f"descent.micro_batch_size={size}") for size in (16, "null"))
    sizes = set()
    for piece, one in zip(pieces.steps, whole.steps, strict=True):
        sizes.add(piece.accumulation.sizes)
        assert one.accumulation.sizes == (sum(piece.accumulation.sizes),)
        assert piece.loss == pytest.approx(one.loss, rel=1e-9)
        assert piece.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-9)
    assert sizes == {(16, 16, 16, 2), (16, 16, 6)}  # 1,438 samples: 28 batches of 50, and 38 left over
    for ours, theirs in zip(pieces.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


# The trajectory is that of the seed.


def test_the_seed_decides_every_number() -> None:
    one, same, other = (Descent("experiment=tanh_mlp", "descent.steps=20", f"seed={seed}").end() for seed in (5, 5, 6))
    assert one == same
    assert all(a.loss != b.loss for a, b in zip(one, other, strict=True))


def test_the_event_file_holds_every_number_of_every_step(main_job: tuple[Path, str]) -> None:
    # As the float32 nearest to it, which is what an Event can hold; of the samples held out, at 50 steps or a few more.
    board, descent = events(main_job[0]), Descent()
    evaluated = {event.step for event in board.Scalars("loss/test")}
    assert evaluated == {1, *range(18, 901, 18)}
    expected: dict[str, list[tuple[int, float]]] = {}
    for step in descent.steps:
        numbers = {"loss/train": step.loss, "gradient_norm/total": step.total_gradient_norm}
        numbers |= {f"gradient_norm/{name}": norm for name, norm in step.gradient_norm.items()}
        numbers |= {f"update_ratio/{name}": ratio for name, ratio in step.update_ratio.items()}
        if step.step in evaluated:
            held_out = descent.held_out()
            assert held_out.accuracy is not None
            numbers |= {"loss/test": held_out.loss, "accuracy/test": held_out.accuracy}
        for tag, number in numbers.items():
            expected.setdefault(tag, []).append((step.step, float(np.float32(number))))
    assert {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in board.Tags()["scalars"]} == expected
    assert len(expected["loss/train"]) == 900  # 20 epochs of 1,438 samples in batches of 32
    assert math.isinf(expected["update_ratio/0.bias"][0][1])  # a bias starts at zero


def test_the_event_file_holds_histograms_and_texts(main_job: tuple[Path, str]) -> None:
    board = events(main_job[0])
    assert set(board.Tags()["histograms"]) == {
        f"histogram/{kind}/{name}" for kind in ("parameter", "gradient") for name in ("0.weight", "0.bias")
    }
    assert [event.step for event in board.Histograms("histogram/gradient/0.weight")] == [1, 180, 360, 540, 720, 900]
    texts = {tag: b"".join(board.Tensors(tag)[0].tensor_proto.string_val).decode() for tag in ("certificate", "config")}
    assert "∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j" in texts["certificate"] and "**pass**" in texts["certificate"]
    assert (main_job[0] / "config.yaml").read_text("utf-8").strip() in texts["config"]


# What a run says of itself is true.


def test_the_main_job_leaves_the_network_that_it_reports(main_job: tuple[Path, str]) -> None:
    directory, said = main_job
    layers = nn.Sequential(nn.Linear(64, 10), nn.Tanh())
    layers.load_state_dict(load_file(directory / "weights.safetensors"))
    data = Descent().data
    right = (layers(data.test.inputs).argmax(1) == data.test.targets.argmax(1)).double().mean().item()
    assert right >= 0.93
    assert row("accuracy", said) == f"{right:.2%} of the 359 samples held out"
    assert events(directory).Scalars("accuracy/test")[-1].value == np.float32(right)


def test_the_main_job_says_what_it_did(main_job: tuple[Path, str]) -> None:
    directory, said = main_job
    certificate = json.loads((directory / "certificate.json").read_text("utf-8"))
    assert certificate["verdict"] == "pass" and row("certificate", said).startswith("pass: 36,240 entries")
    assert "∂Y_k/∂B_i = δ_ki (1 − Y_k²)\n" in said
    assert "\nstep 900/900  epoch 20 " in said
    where = f"runs/tanh_linear/{directory.name}"
    assert row("run", said) == where
    # The last line is the command to give next, wherever the environment is that this ran in.
    program, *arguments = shlex.split(row("TensorBoard", said))
    assert shutil.which(program) is not None and arguments == ["--logdir", where]
    assert said.splitlines()[-1].startswith("TensorBoard ")


def row(title: str, said: str) -> str:
    found = re.search(rf"^{title} +(.+)$", said, re.MULTILINE)
    assert found is not None, said
    return found[1]


class StoppedClock(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "StoppedClock":
        return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)


def test_runs_without_a_name_never_meet(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second begins in the same second, and takes another name; the first is left as it was.
    monkeypatch.setattr(train, "datetime", StoppedClock)
    settings = "experiment=teacher", "descent.steps=1", "verification.samples=1"
    run(*settings)
    (first,) = (tmp_path / "runs" / "teacher").iterdir()
    before = {path: path.read_bytes() for path in first.iterdir()}
    run(*settings)
    (second,) = set((tmp_path / "runs" / "teacher").iterdir()) - {first}
    assert (first.name, second.name) == ("2026-01-02_03-04-05", "2026-01-02_03-04-05_2")
    assert {path: path.read_bytes() for path in first.iterdir()} == before
    assert (second / "weights.safetensors").read_bytes() == (first / "weights.safetensors").read_bytes()


def test_one_command_for_several_runs(run: Run, tmp_path: Path) -> None:
    run("-m", "experiment=teacher", "seed=0,1", "descent.steps=1", "verification.samples=1")
    one, other = (path / "config.yaml" for path in (tmp_path / "runs" / "teacher").iterdir())
    assert {OmegaConf.load(path).seed for path in (one, other)} == {0, 1}
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


# A derivative that is wrong.


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
    assert re.match(r"fail: 0\.weight, entry \[\d, \d, \d, \d\]: closed form gives \S+ where [a-z ]+ gives ", sentence)
    assert sentence.endswith("; not a step was made, and the certificate is in here.")
    certificate = json.loads((tmp_path / "here" / "certificate.json").read_text("utf-8"))
    assert certificate["verdict"] == "fail"
    assert not (tmp_path / "here" / "weights.safetensors").exists()
    assert events(tmp_path / "here").Tags()["scalars"] == []
