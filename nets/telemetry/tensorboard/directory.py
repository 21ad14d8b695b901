"""The directory of a run, and the command that shows it."""

import contextlib
import os
import shlex
import shutil
import sys
from datetime import datetime
from pathlib import Path

from nets.errors import InputError


def new_directory(wanted: str | None, name: str) -> Path:
    """An empty directory for the run: `wanted`, or one with the name of the experiment and the time.

    Raises:
        InputError: `wanted` has files in it.
    """
    stem = Path("runs", name, f"{datetime.now():%Y-%m-%d_%H-%M-%S}") if wanted is None else Path(wanted)
    if wanted is not None and stem.is_dir() and not any(stem.iterdir()):
        return stem
    for suffix in [""] if wanted is not None else ["", *(f"_{number}" for number in range(2, 1000))]:
        with contextlib.suppress(FileExistsError):
            (directory := Path(f"{stem}{suffix}")).mkdir(parents=True)
            return directory
    raise InputError(f"run_dir={stem} is there already, and no run is ever overwritten: name a new directory.")


def tensorboard(directory: Path) -> str:
    """The command that opens the run, of the environment that runs this; it need not be the activated one."""
    ours = shutil.which("tensorboard", path=str(Path(sys.executable).parent)) or "tensorboard"
    short = "tensorboard" if shutil.which("tensorboard") == ours else min(ours, os.path.relpath(ours), key=len)
    return shlex.join([short, "--logdir", str(directory)])
