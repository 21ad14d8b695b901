"""`make pythons`: the main job and the tests of the command line on every supported Python that is installed.

The script looks for python3.X on PATH, then among the Pythons of pyenv. Each gets its own environment in build/pythons,
which the next run reuses; `make clean` removes it. The exit status is 0 unless an installation, a job or a test failed.
An installation of more than ten minutes, such as a torch built for CUDA over a slow line, is stopped and reported, but
does not count as a failure.

    python tests/pythons.py          every Python from 3.10 to 3.13
    python tests/pythons.py lowest   the lowest of them alone
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / "build" / "pythons"

NAMES = ("python3.10", "python3.11", "python3.12", "python3.13")

PATIENCE = float(os.environ.get("NETS_INSTALL_SECONDS", "600"))
"""Seconds that an installation may take."""

JOB = ("train.py", "experiment=tanh_linear", "descent.epochs=1")

TESTS = (
    "tests/test_train.py",
    "tests/test_bad_input.py",
    "tests/test_validation.py",
    "tests/test_data_configs.py",
    "tests/test_screen.py",
)
"""Of the command line: what a run says and writes, and what it refuses."""

USABLE = (
    "import ensurepip, sys, venv; print('python%d.%d' % sys.version_info[:2], '.'.join(map(str, sys.version_info[:3])))"
)


@dataclass(frozen=True)
class Python:
    """An interpreter: what it is called, which version it is, and where."""

    name: str
    version: str
    path: Path


@dataclass(frozen=True)
class Outcome:
    """What came of one Python: whether anything failed, and what there is to say of it."""

    failed: bool
    words: str


def found(name: str) -> Python | None:
    """The interpreter of that name, of those on PATH the first that runs, or else pyenv's newest."""
    on_path = [shutil.which(name, path=folder) for folder in os.get_exec_path()]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    of_pyenv = pyenv.glob(f"{name.removeprefix('python')}.*/bin/{name}")
    candidates = [*(Path(path) for path in on_path if path), *sorted(of_pyenv, key=_by_number, reverse=True)]
    return next(filter(None, (_tried(name, path) for path in candidates)), None)


def _by_number(path: Path) -> list[int]:
    """3.12.10 is newer than 3.12.9."""
    return [int(part) for part in path.parts[-3].split(".") if part.isdecimal()]


def _tried(name: str, path: Path) -> Python | None:
    """None for a shim of pyenv's whose version is not chosen, and for a Python with which no environment can be
    made."""
    done = subprocess.run([path, "-c", USABLE], capture_output=True, text=True)
    words = done.stdout.split()
    return Python(name, words[1], path) if done.returncode == 0 and words[:1] == [name] else None


def tried_out(python: Python) -> Outcome:
    """Install nets for it, do the main job, run the tests of the command line."""
    began = time.monotonic()
    installed = _installed(python)
    if installed is None:
        return Outcome(False, f"left out, since its installation takes more than {PATIENCE / 60:.3g} minutes")
    if not installed:
        return Outcome(True, "FAILED: nets cannot be installed")
    ready = time.monotonic()
    own = ENVIRONMENTS / python.name / "bin" / "python"
    runs = ENVIRONMENTS / python.name / "runs"
    steps = {
        "the main job": [own, *JOB, f"run_dir={runs / time.strftime('%Y-%m-%d_%H-%M-%S')}"],
        "the command line's tests": [own, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
    }
    ended = {what: subprocess.run(step, cwd=ROOT).returncode for what, step in steps.items()}
    wrong = [f"{what} ended with status {status}" for what, status in ended.items() if status]
    took = f"installed in {ready - began:.0f} s, run in {time.monotonic() - ready:.0f} s"
    said = f"FAILED: {' and '.join(wrong)}" if wrong else f"passed: {' and '.join(ended)}"
    return Outcome(bool(wrong), f"{said}; {took}")


def _installed(python: Python) -> bool | None:
    """Whether nets is in its environment now; None if that takes too long, and then nothing is left of it."""
    folder = ENVIRONMENTS / python.name
    stamp, wanted = folder / "installed", _wanted(python)
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = ("-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", "constraints.txt", "-e", ".[test]")
    end = time.monotonic() + PATIENCE
    for step in ([python.path, "-m", "venv", folder], [folder / "bin" / "python", *pip]):
        status = _ended(step, end - time.monotonic())
        if status is None:
            shutil.rmtree(folder, ignore_errors=True)
        if status != 0:
            return None if status is None else False
    stamp.write_text(wanted, "utf-8")
    return True


def _wanted(python: Python) -> str:
    """What an environment is made of: the interpreter, and the lists of packages."""
    lists = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    return f"{python.path} {python.version} {hashlib.sha256(lists).hexdigest()}\n"


def _ended(command: Sequence[str | Path], seconds: float) -> int | None:
    """The exit status; None if it took longer, and then it has been ended, with all that it had started."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        return process.wait(timeout=max(seconds, 0.0))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    if [*arguments] not in ([], ["lowest"]):
        print(f"pythons was given {' '.join(arguments)!r}; expected nothing, or lowest.", file=sys.stderr)
        return 2
    every = {name: found(name) for name in NAMES}
    here = [python for python in every.values() if python is not None]
    if not here:
        print(f"none of {', '.join(NAMES)} is found on PATH or among pyenv's: install one.", file=sys.stderr)
        return 1
    chosen = here[: 1 if arguments else None]
    outcomes = {}
    for python in chosen:
        print(f"{python.name} is {python.version}, at {python.path}", flush=True)
        outcomes[python.name] = tried_out(python)
    lines = {name: "not found" if python is None else "not asked for" for name, python in every.items()}
    lines |= {python.name: f"{python.version}  {outcomes[python.name].words}" for python in chosen}
    print("", *(f"{name}  {words}" for name, words in lines.items()), sep="\n")
    return int(any(outcome.failed for outcome in outcomes.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
