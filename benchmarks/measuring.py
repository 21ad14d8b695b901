"""Comparable times: interleaved runs in one process, the ratio of each run, and the median and spread of the ratios."""

import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata

import numpy as np
import torch

Loop = Callable[[int], object]
"""Runs the number of steps it is called with."""


@dataclass(frozen=True)
class Row:
    """One measured claim.

    Attributes:
        row: the claim: which time is divided by which.
        setting: the network, the batch and the threads or the device.
        ratio: the median over the runs.
        low, high: the 10th and the 90th percentile.
        target: the claimed bound, such as '≤ 0.45'; 'stated' if the ratio is reported without a bound.
        met: whether the median is within the bound.
        why: if it is not, a measurement of the same run that explains it.
    """

    row: str
    setting: str
    ratio: float
    low: float
    high: float
    target: str
    met: bool
    why: str = ""

    def __str__(self) -> str:
        miss = "" if self.met else f", MISSED by {self.missed_by:.0%}{': ' if self.why else ''}{self.why}"
        spread = f"[{self.low:.3g}, {self.high:.3g}]"
        return f"{self.row} ({self.setting}): {self.ratio:.3g} {spread}, target {self.target}{miss}"

    @property
    def missed_by(self) -> float:
        """The distance from the target to the ratio, as a share of the target."""
        bound = float(self.target.split()[1])
        return self.ratio / bound - 1 if self.target.startswith("≤") else bound / self.ratio - 1


def row(name: str, setting: str, ratios: Iterable[float], target: str, why: str = "") -> Row:
    """The row of a claim, from the ratios of its runs."""
    low, middle, high = np.percentile(list(ratios), [10, 50, 90]).tolist()
    kind, _, bound = target.partition(" ")
    met = {"≤": lambda: middle <= float(bound), "≥": lambda: middle >= float(bound)}.get(kind, lambda: True)()
    return Row(name, setting, middle, low, high, target, met, "" if met else why)


def interleaved(loops: dict[str, Loop], steps: int, runs: int) -> dict[str, list[float]]:
    """Seconds per step of each loop in each run. Each loop first runs once to warm up. Then the loops run in turn, and
    each run begins with another loop."""
    for loop in loops.values():
        loop(max(2, steps // 4))
    names, seconds = list(loops), {name: list[float]() for name in loops}
    for run in range(runs):
        for place in range(len(names)):
            name = names[(run + place) % len(names)]
            started = time.perf_counter()
            measured = loops[name](steps)
            # Lightning starts slowly, so its loop measures and returns its own seconds per step.
            seconds[name].append(measured if isinstance(measured, float) else (time.perf_counter() - started) / steps)
    return seconds


def ratios(seconds: dict[str, list[float]], one: str, other: str) -> list[float]:
    """The ratio of each run, so that a slow machine slows both sides."""
    return [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]


def machine() -> str:
    """The processor, the number of threads and the versions of the packages, in one line."""
    packages = ("torch", "numpy", "jax", "tensorboard", "lightning", "backpack-for-pytorch", "opacus")
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass  # only Linux has this file
    return f"{model}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {', '.join(versions)}"
