"""The report at the end of a run: pictures in two places, and one sentence for each fault."""

from pathlib import Path

import pytest
import torch
from running import events

import nets
from nets.data import digits
from nets.records.layer_statistics import Snapshot
from nets.telemetry.diagnosis.layer_table import LEGEND, table
from nets.telemetry.report import Report, report
from nets.telemetry.tensorboard.board import Board
from nets.training.gradients.layer_statistics import snapshot


def run(
    sizes: list[int], activation: str, gain: float, learning_rate: float, folder: Path
) -> tuple[Report, list[Snapshot]]:
    data = digits(targets="classes").train.take(slice(0, 256))
    network = nets.mlp(sizes, activation, "identity", gain=gain, generator=torch.Generator().manual_seed(0))
    snapshots, steps = [snapshot(network, nets.CrossEntropy(), data)], []
    try:
        for step in nets.descend(network, data, loss=nets.CrossEntropy(), learning_rate=learning_rate, steps=60):
            steps.append(step)
    except nets.DivergenceError:
        pass
    snapshots.append(snapshot(network, nets.CrossEntropy(), data, len(steps)))
    with Board(folder) as board:
        return report(steps, snapshots, board, folder), snapshots


def text(folder: Path) -> str:
    (event,) = events(folder).Tensors("run/diagnosis")
    return event.tensor_proto.string_val[0].decode()


def test_a_healthy_run_has_a_table_and_no_sentence(tmp_path: Path) -> None:
    found, snapshots = run([64, 16, 10], "tanh", 1.0, 0.1, tmp_path)
    assert found == Report((), f"{table(snapshots)}\n{LEGEND}")
    assert found.diagnosis.startswith("gradients neither vanish nor explode")
    assert text(tmp_path) == f"**healthy**\n\n```\n{table(snapshots)}\n\n{LEGEND}\n```"
    pictures = {path.stem: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert pictures.keys() == {"gradients", "flow", "saturation"}
    board = events(tmp_path)
    assert {tag: board.Images(tag)[0].encoded_image_string for tag in board.Tags()["images"]} == {
        f"run/{name}": png for name, png in pictures.items()
    }


def test_a_fault_that_lasts_has_one_sentence(tmp_path: Path) -> None:
    found, _ = run([64, *[16] * 19, 10], "tanh", 0.5, 0.01, tmp_path)
    (sentence,) = found.faults
    assert found.diagnosis == sentence
    assert sentence.startswith("gradients vanish: ") and "(step 1)" in sentence
    assert text(tmp_path).startswith(f"* {sentence}\n\n```\n")


def test_a_fault_at_the_start_does_not_hide_another_at_the_end(tmp_path: Path) -> None:
    found, _ = run([64, 16, 16, 10], "relu", 1.4, 1e15, tmp_path)
    start, end = found.faults
    assert start.startswith("gradients explode: the update of ") and "(step 1)" in start
    assert end.startswith("not finite: ") and "It begins in layer " in end


def test_many_layers_are_all_on_the_board_and_some_on_the_screen(tmp_path: Path) -> None:
    found, snapshots = run([64, *[8] * 29, 10], "identity", 1.0, 1e-6, tmp_path)
    assert "… 6 more layers" in found.layers
    assert table(snapshots, most_rows=None) in text(tmp_path) and "more layers" not in text(tmp_path)
    assert not (tmp_path / "saturation.png").exists()


def test_a_picture_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    data = nets.Batch(torch.ones(4, 2), torch.zeros(4, 1))
    network = nets.mlp([2, 1], output="tanh")
    seen = snapshot(network, nets.MeanSquaredError(), data)
    steps = list(nets.descend(network, data, loss=nets.MeanSquaredError(), learning_rate=0.1, steps=2))
    with Board(tmp_path) as board, pytest.raises(nets.InputError, match=r"gradients\.png' cannot be written"):
        report(steps, [seen], board, tmp_path / "nowhere")
