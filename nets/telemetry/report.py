"""The report at the end of a run: its pictures, in the run directory and on the board, and the faults of its
gradients."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nets.records.layer_statistics import Snapshot
from nets.records.step import Step
from nets.telemetry.diagnosis.gradients import diagnose
from nets.telemetry.diagnosis.layer_table import LEGEND, table
from nets.telemetry.diagnosis.sentences import HEALTHY
from nets.telemetry.figures.descent_figures import gradient_figure
from nets.telemetry.figures.layer_figures import flow_figure, saturation_figure
from nets.telemetry.tensorboard.board import Board


@dataclass(frozen=True, slots=True)
class Report:
    """The diagnosis of a run.

    Attributes:
        faults: a sentence for each fault; none where the gradients are healthy.
        layers: the table of the layers with its legend, as wide as a terminal.
    """

    faults: tuple[str, ...]
    layers: str

    @property
    def diagnosis(self) -> str:
        """The sentences of all faults, or the sentence for healthy gradients."""
        return " ".join(self.faults) or HEALTHY


def report(
    steps: Sequence[Step], snapshots: Sequence[Snapshot], board: Board, directory: str | os.PathLike[str]
) -> Report:
    """Draw `gradients.png`, `flow.png` and, where there is an activation, `saturation.png`; diagnose the start and the
    end.

    A fault at the end is left out if the start has it, too.

    Args:
        steps: the records, with the first and the last.
        snapshots: the layers; the first before the first step, the last after the last.
        board: shows pictures and diagnosis as well.
        directory: receives the pictures.

    Raises:
        InputError: there is no step or no snapshot, or a picture cannot be written.
    """
    folder = Path(directory)
    gradient_figure(steps, folder / "gradients.png")
    flow_figure(snapshots, folder / "flow.png")
    drawn = ["gradients", "flow"] + ["saturation"] * saturation_figure(snapshots, folder / "saturation.png")
    for name in drawn:
        board.picture(f"run/{name}", folder / f"{name}.png", steps[-1].step)
    found = diagnose(steps[0], snapshots[0])
    at_end = diagnose(steps[-1], snapshots[-1])
    faults = (*found.values(), *(sentence for fault, sentence in at_end.items() if fault not in found))
    board.diagnosis(faults, f"{table(snapshots, most_rows=None)}\n\n{LEGEND}")
    return Report(faults, f"{table(snapshots)}\n{LEGEND}")
