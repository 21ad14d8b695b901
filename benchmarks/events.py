"""Writes 64 numbers per step for TensorBoard: with `SummaryWriter.add_scalar`, and in one Event with `EventFile`."""

import itertools
import tempfile
from collections.abc import Iterator

from torch.utils.tensorboard import SummaryWriter

from benchmarks.measuring import Row, interleaved, ratios, row
from nets.telemetry.tensorboard.events import EventFile

NUMBERS = {f"gradient_norm/layer{index}.weight": 0.1 * index for index in range(64)}


def rows(runs: int) -> Iterator[Row]:
    writer, writer_steps = SummaryWriter(tempfile.mkdtemp()), itertools.count()
    file, file_steps = EventFile(tempfile.mkdtemp()), itertools.count()

    def with_writer(steps: int) -> None:
        for step in itertools.islice(writer_steps, steps):
            for tag, number in NUMBERS.items():
                writer.add_scalar(tag, number, step)
        writer.flush()

    def with_file(steps: int) -> None:
        for step in itertools.islice(file_steps, steps):
            file.scalars(step, NUMBERS)

    seconds = interleaved({"SummaryWriter": with_writer, "EventFile": with_file}, steps=20, runs=2 * runs)
    yield row(
        "64 numbers a step, on disk: SummaryWriter.add_scalar ÷ EventFile.scalars",
        "64 tags",
        ratios(seconds, "SummaryWriter", "EventFile"),
        "≥ 20",
    )
