"""The rows of steps.py and monitor.py on a GPU, if there is one: the small networks of the CPU, and a wide one."""

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
    """The rows of one device; `wait` blocks until the device has finished its queued work."""
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
        subject = make()
        pair = {key: _finished(monitor.loop_of(subject, key == "with", device), wait) for key in ("with", "without")}
        seconds = interleaved(pair, steps=10 * count, runs=3 * runs)
        claim = "on a GPU: GradientMonitor, every norm logged ÷ without"
        yield row(claim, f"{model}, {name}", ratios(seconds, "with", "without"), "≤ 1.02")


def _finished(loop: Loop, wait: Callable[[], object]) -> Loop:
    """The loop, followed by a wait for its queued work."""

    def timed(count: int) -> None:
        loop(count)
        wait()

    return timed
