"""What is left of a run when it ends: its pictures, in the run directory and on the board, and what ails its gradients."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nets.records.layer_statistics import Flow
from nets.records.step import Step
from nets.telemetry.diagnosis.attenuation import LEGEND, table
from nets.telemetry.diagnosis.gradients import diagnose
from nets.telemetry.figures.descent_figures import gradient_figure
from nets.telemetry.figures.layer_figures import flow_figure, saturation_figure
from nets.telemetry.tensorboard.board import Board


@dataclass(frozen=True, slots=True)
class Report:
    """Attributes:
    faults: a sentence for each; none where the gradients are healthy.
    layers: the table of the layers with its legend, as wide as a terminal.
    """

    faults: tuple[str, ...]
    layers: str

    @property
    def diagnosis(self) -> str:
        """The sentences, or one that says that all is well."""
        well = "gradients neither vanish nor explode, and no layer is saturated or dead, at the first step or the last"
        return " ".join(self.faults) or well


def report(steps: Sequence[Step], flows: Sequence[Flow], board: Board, directory: str | os.PathLike[str]) -> Report:
    """Draw `gradients.png`, `flow.png` and, where there is an activation, `saturation.png`; diagnose the start and the end.

    A fault that is there at the start is not told a second time.

    Args:
        steps: the records, the first and the last among them.
        flows: the looks, of which the first was taken before the first step and the last after the last.
        board: where pictures and diagnosis are shown as well.
        directory: where the pictures are written.

    Raises:
        InputError: there is no step or no look, or a picture cannot be written.
    """
    folder = Path(directory)
    gradient_figure(steps, folder / "gradients.png")
    flow_figure(flows, folder / "flow.png")
    drawn = ["gradients", "flow"] + ["saturation"] * saturation_figure(flows, folder / "saturation.png")
    for name in drawn:
        board.picture(f"run/{name}", folder / f"{name}.png", steps[-1].step)
    kinds: dict[str, str] = {}
    for sentence in (*diagnose(steps[0], flows[0]), *diagnose(steps[-1], flows[-1])):
        kinds.setdefault(sentence.partition(":")[0], sentence)
    faults = tuple(kinds.values())
    board.diagnosis(faults, f"{table(flows, most_rows=None)}\n\n{LEGEND}")
    return Report(faults, f"{table(flows)}\n{LEGEND}")
