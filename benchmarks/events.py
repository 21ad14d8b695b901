"""Writing 64 numbers a step for TensorBoard: `SummaryWriter.add_scalar`, and one Event."""

import itertools
import tempfile
from collections.abc import Iterator

from torch.utils.tensorboard import SummaryWriter

from benchmarks.measuring import Row, interleaved, ratios, row
from nets.telemetry.tensorboard.events import EventFile

NUMBERS = {f"gradient_norm/layer{index}.weight": 0.1 * index for index in range(64)}


def rows(runs: int) -> Iterator[Row]:
    writer, file, ours_at, theirs_at = (
        SummaryWriter(tempfile.mkdtemp()),
        EventFile(tempfile.mkdtemp()),
        itertools.count(),
        itertools.count(),
    )

    def theirs(steps: int) -> None:
        for step in itertools.islice(theirs_at, steps):
            for tag, number in NUMBERS.items():
                writer.add_scalar(tag, number, step)
        writer.flush()

    def ours(steps: int) -> None:
        for step in itertools.islice(ours_at, steps):
            file.scalars(step, NUMBERS)

    seconds = interleaved({"theirs": theirs, "ours": ours}, steps=20, runs=2 * runs)
    yield row(
        "64 numbers a step, on disk: SummaryWriter.add_scalar ÷ EventFile.scalars",
        "64 tags",
        ratios(seconds, "theirs", "ours"),
        "≥ 20",
    )
