"""Accumulation in TensorBoard: each number under its tag, one Event a step, and the noise scale of a known problem."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from running import events

import nets
from nets.data.batch import Batch
from nets.records.noise_scale import MEMORY, GradientNoise, RunningNoise
from nets.telemetry.accumulation_summary import accumulation_summary
from nets.telemetry.tensorboard.board import Board
from nets.training.gradients.accumulator import Accumulator

GENERATOR = torch.Generator().manual_seed(0)
DATA = Batch(torch.randn(23, 3, generator=GENERATOR), torch.rand(23, 2, generator=GENERATOR))


def descended(folder: Path, **settings: object) -> list[nets.Step]:
    network = nets.mlp([3, 2], generator=torch.Generator().manual_seed(1))
    defaults = {"loss": nets.MeanSquaredError(), "learning_rate": 0.01, "epochs": 3, "batch_size": 10}
    steps = list(nets.descend(network, DATA, **(defaults | settings)))  # type: ignore[arg-type]
    with Board(folder) as board:
        for step in steps:
            # Every fourth step is written at once, since it has a test loss.
            board.write(step, **({"test_loss": 1.0} if step.step % 4 == 0 else {}))
    return steps


def series(folder: Path) -> dict[str, dict[int, float]]:
    board = events(folder)
    return {tag: {e.step: e.value for e in board.Scalars(tag)} for tag in board.Tags()["scalars"]}


def short(contribution: str) -> str:
    return contribution.replace("micro-batch", "micro")


def test_each_number_of_a_window_has_a_tag(tmp_path: Path) -> None:
    steps = descended(tmp_path, micro_batch_size=4)
    assert [step.accumulation.sizes for step in steps[:3]] == [(4, 4, 2), (4, 4, 2), (3,)]
    found, noise = series(tmp_path), RunningNoise()
    expected: dict[str, dict[int, float]] = {}
    for step in steps:
        own = step.accumulation
        numbers: dict[str, float] = {}
        for name in own.norms:
            numbers |= {f"{name}/norm {short(c)}": x for c, x in zip(own.names, own.norms[name], strict=True)}
            numbers |= {
                f"{name}/cosine {short(c)}": x for c, x in list(zip(own.names, own.cosines[name], strict=True))[1:]
            }
            numbers |= {f"{name}/agreement": own.agreement[name], f"{name}/residual": own.residual[name]}
            numbers |= {f"{name}/largest share": own.largest[name][1]}
        numbers |= {f"weight {short(c)}": w for c, w in zip(own.names, own.weights, strict=bool(own.names))}
        for tag, number in numbers.items():
            expected.setdefault(f"accumulation/{tag}", {})[step.step] = number
        if own.noise is not None:
            average = noise.add(own.noise)
            expected.setdefault("noise_scale", {})[step.step] = average.scale
            expected.setdefault("noise_scale/batch_size", {})[step.step] = average.batch_size
    ours = {tag: values for tag, values in found.items() if tag.startswith(("accumulation", "noise_scale"))}
    assert ours.keys() == expected.keys()
    for tag, values in expected.items():
        assert list(ours[tag]) == list(values)
        np.testing.assert_array_equal(np.array(list(ours[tag].values()), "f4"), np.array(list(values.values()), "f4"))
    assert len(found["loss/train"]) == 9


def test_a_step_without_accumulation_has_no_accumulation_tags(tmp_path: Path) -> None:
    descended(tmp_path)
    assert {tag.split("/")[0] for tag in series(tmp_path)} == {"loss", "gradient_norm", "update_ratio", "learning_rate"}


def test_many_contributions_are_written_as_their_smallest_and_largest(tmp_path: Path) -> None:
    steps = descended(tmp_path, micro_batch_size=1, batch_size=9)
    found = series(tmp_path)
    for step in steps[:2]:
        norms, cosines = step.accumulation.norms["0.bias"], step.accumulation.cosines["0.bias"][1:]
        assert found["accumulation/0.bias/smallest norm"][step.step] == np.float32(min(norms))
        assert found["accumulation/0.bias/largest norm"][step.step] == np.float32(max(norms))
        assert found["accumulation/0.bias/smallest cosine"][step.step] == np.float32(min(cosines))
    assert not any(" micro " in tag for tag in found if found[tag].keys() & {1, 2})
    assert "accumulation/0.bias/norm micro 5" in found  # of the last window of each epoch, which has five


def test_the_page_has_charts_of_accumulation(tmp_path: Path) -> None:
    descended(tmp_path, micro_batch_size=4)
    layout = events(tmp_path).Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert b"accumulation/.*/agreement" in layout and b"noise_scale" in layout


def test_the_noise_scale_of_linear_regression_equals_its_formula() -> None:
    """y = θ·x + ε with x ~ N(0, 1)^d and ε ~ N(0, σ²). With e = (w − θ)·x − ε the gradient of a sample is g = 2 e x, so
    that with D = ‖w − θ‖² its mean is 2 (w − θ), E‖g‖² = 4 ((d + 2) D + σ² d) (Isserlis), and
    B = tr Σ / ‖G‖² = ((d + 1) D + σ² d) / D."""
    d, sigma, samples = 5, 2.0, 400_000
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, d, generator=generator, dtype=torch.float64)
    truth = torch.tensor([0.5, -0.5, 0.5, 0.5, -1.0], dtype=torch.float64)
    y = x @ truth + sigma * torch.randn(samples, generator=generator, dtype=torch.float64)
    layer = torch.nn.Linear(d, 1, bias=False, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight)
    distance = float(truth.square().sum())
    expected = ((d + 1) * distance + sigma**2 * d) / distance  # 16
    noise = RunningNoise()
    # Steps too small to move w; ragged micro-batches: 16, 16 and 8 of 40.
    settings = {"learning_rate": 1e-12, "epochs": 1, "batch_size": 40, "micro_batch_size": 16}
    averages = []
    for step in nets.descend(
        nets.Network.from_torch(layer), Batch(x, y[:, None]), loss=nets.MeanSquaredError(), **settings
    ):
        found = step.accumulation.noise
        assert found is not None
        averages.append((found.signal, found.noise))
        running = noise.add(found)
    signal, variance = np.array(averages).mean(0)
    assert expected == 16 and signal == pytest.approx(4 * distance, rel=0.02)
    assert variance / signal == pytest.approx(expected, rel=0.03)  # over 10,000 steps
    assert running.scale == pytest.approx(expected, rel=0.3)  # of about the last hundred steps
    assert GradientNoise(1.0, 17.0).batch_size == 16 and GradientNoise(1.0, 0.1).batch_size == 1


def test_a_sum_has_the_noise_scale_of_the_mean() -> None:
    network = nets.mlp([3, 2]).double()
    data = DATA.to(torch.float64)
    scales = []
    for reduction in ("mean", "sum"):
        loss = nets.MeanSquaredError(reduction)
        (step,) = nets.descend(network, data, loss=loss, learning_rate=1e-15, steps=1, micro_batch_size=5)
        assert step.accumulation.noise is not None
        scales.append(step.accumulation.noise.scale)
    assert scales[0] == pytest.approx(scales[1], rel=1e-10)


def test_the_running_average_forgets_old_steps() -> None:
    noise = RunningNoise()
    assert noise.add(GradientNoise(2.0, 6.0)).scale == 3
    assert math.isclose(noise.add(GradientNoise(4.0, 6.0)).signal, (2 * (1 - 1 / MEMORY) + 4) / (2 - 1 / MEMORY))
    assert noise.add(GradientNoise(math.nan, 1.0)).signal < 4  # a number that is not finite is left out
    for _ in range(20 * MEMORY):
        found = noise.add(GradientNoise(1.0, 10.0))
    assert found.scale == pytest.approx(10, rel=1e-6)
    assert math.isnan(RunningNoise().add(GradientNoise(math.inf, 1.0)).scale)


def test_the_summary_states_agreement_and_noise_scale(tmp_path: Path) -> None:
    assert accumulation_summary(descended(tmp_path / "plain")) == {}
    said = accumulation_summary(descended(tmp_path / "sums", micro_batch_size=4))
    assert re.fullmatch(
        r"3 contributions to a gradient, \d+% in agreement; their sum is exact to rounding, \de-08",
        said["accumulation"],
    )
    assert re.fullmatch(r"[\d.]+ samples, so batches of about [\d,]+; these have 10|no signal .*", said["noise scale"])


def test_the_summary_names_a_wrong_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Accumulator.finish

    def spoilt(self: Accumulator, into: torch.Tensor, whole: int) -> dict[str, torch.Tensor]:
        self.total["0.weight"].mul_(1.01)
        return close(self, into, whole)

    monkeypatch.setattr(Accumulator, "finish", spoilt)
    said = accumulation_summary(descended(tmp_path, micro_batch_size=4))["accumulation"]
    assert re.search(r"; at step 1 what was added up for 0\.weight is not their sum, by \d\.\de-03 of it$", said)
