"""The time of `python train.py --help`, against the time of importing Hydra."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.measuring import Row, interleaved, ratios, row

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
COMPOSED = f"""\
from hydra import compose, initialize_config_dir
with initialize_config_dir({str(TRAIN.parent / "configs")!r}, version_base="1.3"):
    compose("train")
"""


def rows(runs: int) -> Iterator[Row]:
    def program(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    loops = {
        "help": lambda steps: program(str(TRAIN), "--help"),
        "hydra": lambda steps: program("-c", "import hydra"),
        "composed": lambda steps: program("-c", COMPOSED),
    }
    seconds = interleaved(loops, steps=1, runs=2 * runs)
    alone = median(ratios(seconds, "composed", "hydra"))
    yield row(
        "python train.py --help ÷ python -c 'import hydra'", "whole programs", ratios(seconds, "help", "hydra"),
        "≤ 1.5",
        f"a program in which Hydra only composes the settings takes {alone:.2f} times as long as the import",
    )  # fmt: skip
