"""The rows of steps and of the monitor on a GPU, where there is one: networks as small as on the CPU, and one that is
wide."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from benchmarks import monitor, steps
from benchmarks.measuring import Loop, Row, interleaved, ratios, row

WIDTHS = (*steps.WIDTHS, 8192)


def rows(runs: int) -> Iterator[Row]:
    if torch.cuda.is_available():
        yield from rows_on("cuda", torch.cuda.get_device_name(), torch.cuda.synchronize, runs)


def rows_on(
    device: str, name: str, wait: Callable[[], object], runs: int, widths: tuple[int, ...] = WIDTHS
) -> Iterator[Row]:
    """The rows of one device, of which `wait` waits for the work that was queued."""
    for width in widths:
        loops = {
            "ours": steps.ours(width, "closed_form", device),
            "autograd": steps.ours(width, "autograd", device),
            "bare": steps.bare(width, device),
            "leanest": steps.leanest(width, device),
            "alone": steps.operations_alone(width, device),
            "compile": steps.compiled(width, device),
        }
        seconds = interleaved({loop: _finished(loops[loop], wait) for loop in loops}, steps=300, runs=runs)
        for claim in steps.claims(seconds, width, f"64-{width:,}-10, batch 64, {name}"):
            yield replace(claim, row=f"on a GPU: {claim.row}")
    for model, (make, count) in monitor.MODELS.items():
        torch.manual_seed(0)
        made = make()
        pair = {which: _finished(monitor.loop_of(made, which == "with", device), wait) for which in ("with", "without")}
        seconds = interleaved(pair, steps=10 * count, runs=3 * runs)
        claim = "on a GPU: GradientMonitor, every norm logged ÷ without"
        yield row(claim, f"{model}, {name}", ratios(seconds, "with", "without"), "≤ 1.02")


def _finished(loop: Loop, wait: Callable[[], object]) -> Loop:
    """The loop, with its work done and not merely asked for."""

    def timed(count: int) -> None:
        loop(count)
        wait()

    return timed
