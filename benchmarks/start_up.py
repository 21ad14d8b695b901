"""How long a user waits for `python train.py --help`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import Row, interleaved, ratios, row

TRAIN = Path(__file__).resolve().parent.parent / "train.py"


def rows(runs: int) -> Iterator[Row]:
    def program(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    loops = {
        "help": lambda steps: program(str(TRAIN), "--help"),
        "hydra": lambda steps: program("-c", "import hydra"),
    }
    seconds = interleaved(loops, steps=1, runs=2 * runs)
    yield row("python train.py --help ÷ python -c 'import hydra'", "whole programs", ratios(seconds, "help", "hydra"), "≤ 1.5")
