"""Times that can be compared: interleaved runs in one process, ratios run by run, their median and spread."""

import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata

import numpy as np
import torch

Loop = Callable[[int], object]
"""A loop of so many steps."""


@dataclass(frozen=True)
class Row:
    """One claim.

    Attributes:
        row: what is divided by what.
        setting: on what.
        ratio: the median over the runs.
        low, high: the 10th and the 90th percentile.
        target: what is claimed, such as '≤ 0.45'; 'stated' where nothing is.
        met: whether the median is within it.
        why: where it is not, what the same run shows of the reason.
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
        """How far beyond the target the ratio is, as a share of the target."""
        bound = float(self.target.split()[1])
        return self.ratio / bound - 1 if self.target.startswith("≤") else bound / self.ratio - 1


def row(name: str, setting: str, ratios: Iterable[float], target: str, why: str = "") -> Row:
    """The row of a claim from the ratios of its runs."""
    low, middle, high = np.percentile(list(ratios), [10, 50, 90]).tolist()
    kind, _, bound = target.partition(" ")
    met = {"≤": lambda: middle <= float(bound), "≥": lambda: middle >= float(bound)}.get(kind, lambda: True)()
    return Row(name, setting, middle, low, high, target, met, "" if met else why)


def interleaved(loops: dict[str, Loop], steps: int, runs: int) -> dict[str, list[float]]:
    """Seconds per step of each loop in each run. All are run once to warm up; then in turn, each run beginning with
    another."""
    for loop in loops.values():
        loop(max(2, steps // 4))
    names, seconds = list(loops), {name: list[float]() for name in loops}
    for run in range(runs):
        for place in range(len(names)):
            name = names[(run + place) % len(names)]
            started = time.perf_counter()
            own = loops[name](steps)
            # Lightning, which takes its time to begin with, measures its steps itself.
            seconds[name].append(own if isinstance(own, float) else (time.perf_counter() - started) / steps)
    return seconds


def ratios(seconds: dict[str, list[float]], one: str, other: str) -> list[float]:
    """Run by run, so that what slows the machine down slows both."""
    return [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]


def machine() -> str:
    """The machine, its threads and the versions, in a line."""
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
        pass  # there is such a file on Linux alone
    return f"{model}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {', '.join(versions)}"
