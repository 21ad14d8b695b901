"""How the cost grows: time per step against parameters and batch size, memory of a certificate against samples.

The slope is the slope of a straight line on logarithmic axes; 1 means that the cost is proportional to the size.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import nets
from benchmarks.measuring import Row

PICTURE = Path(__file__).parent / "growth.png"

PEAK = """
import re, sys, torch, nets

def resident(what):
    return int(re.search(what + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])

network, x = nets.mlp([64, 32, 10], output="identity").double(), torch.randn(int(sys.argv[1]), 64, dtype=torch.float64)
nets.verify(network, x[:1], coverage="full")  # exclude what is loaded or cached at first use
open("/proc/self/clear_refs", "w").write("5")  # reset the peak
before = resident("VmRSS")
nets.verify(network, x, coverage="full")
print((resident("VmHWM") - before) * 1024)
"""
"""A program that prints its peak memory in bytes. Only Linux can reset the peak of a process."""


def per_step(sizes: list[int], batch: int, seconds: float = 1.0) -> float:
    """Seconds per step of the closed form: the median of the steps that fit into `seconds`, and of at least three."""
    samples = nets.Batch(torch.randn(batch, sizes[0]), torch.rand(batch, sizes[-1]))
    steps = nets.descend(
        nets.mlp(sizes, output="identity"),
        samples,
        loss=nets.MeanSquaredError(),
        learning_rate=1e-9,
        steps=10**9,
        batch_size=batch,
    )
    next(steps), next(steps)
    times, end = list[float](), time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        next(steps)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def peak(samples: int) -> float:
    """Peak memory in bytes of a certificate of 64-32-10 at this number of samples, measured in a separate process."""
    result = subprocess.run([sys.executable, "-c", PEAK, str(samples)], capture_output=True, text=True, check=True)
    return float(result.stdout)


def slope(sizes: list[float], costs: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def line(name: str, setting: str, sizes: list[float], costs: list[float], last: int) -> Row:
    """The slope over the last sizes, where the fixed cost of a step no longer matters, and its range from size to
    size."""
    steps = (np.diff(np.log(costs)) / np.diff(np.log(sizes)))[-last + 1 :].tolist()
    return Row(name, setting, slope(sizes[-last:], costs[-last:]), min(steps), max(steps), "stated", True)


def rows(runs: int) -> Iterator[Row]:
    torch.set_num_threads(2)
    widths = [32, 100, 316, 1000, 3162, 10_000]
    parameters = [float(width * width + width) for width in widths]
    by_parameters = [per_step([width, width], 64) for width in widths]
    batches = [16.0, 64.0, 256.0, 1024.0, 4096.0]
    by_batch = [per_step([64, 256, 10], int(batch)) for batch in batches]
    samples = [8.0, 16.0, 32.0, 64.0]
    memory = [peak(int(count)) for count in samples]
    draw(
        ("parameters", "seconds a step", parameters, by_parameters),
        ("batch", "seconds a step", batches, by_batch),
        ("samples verified", "bytes at most", samples, memory),
    )
    costs = ", ".join(f"{p:.0e}: {1e6 * t:,.0f} µs" for p, t in zip(parameters, by_parameters, strict=True))
    yield line(
        "slope of time per step against parameters", f"1e3 to 1e8, batch 64; {costs}", parameters, by_parameters, 3
    )
    costs = ", ".join(f"{b:.0f}: {1e6 * t:,.0f} µs" for b, t in zip(batches, by_batch, strict=True))
    yield line("slope of time per step against batch", f"64-256-10; {costs}", batches, by_batch, 3)
    costs = ", ".join(f"{n:.0f}: {m / 2**20:,.0f} MiB" for n, m in zip(samples, memory, strict=True))
    yield line(
        "slope of memory of a certificate against samples", f"64-32-10, every entry; {costs}", samples, memory, 3
    )


def draw(*panels: tuple[str, str, list[float], list[float]]) -> None:
    """Plot the measured points on logarithmic axes, with the line through the last three."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, (what, unit, sizes, costs) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        fit = np.polyfit(np.log(sizes[-3:]), np.log(costs[-3:]), 1)
        axes.loglog(
            sizes, np.exp(np.polyval(fit, np.log(sizes))), color="0.75", linewidth=1, label=f"slope {fit[0]:.2f}"
        )
        axes.loglog(sizes, costs, "o-", color="tab:blue", markersize=5)
        if sizes[-1] / sizes[0] < 100:  # fewer than two powers of ten: label each size
            axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
            axes.xaxis.minorticks_off()
        axes.set(xlabel=what, ylabel=unit, title=f"{unit} against {what}")
        axes.grid(which="major", alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(PICTURE, dpi=110)
