"""`make` builds .venv once, repairs it after an interrupted installation, and reports an error in one sentence.

The interpreter is a shell script that logs its arguments, so the tests install nothing.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALL = "-m pip install -qq --disable-pip-version-check -c constraints.txt -e"
VENV, LIBRARY, TOOLS = "-m venv .venv", f"{INSTALL} .", f"{INSTALL} .[test,dev]"
TRAIN = "train.py experiment=tanh_linear"
TEST = "-m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder"


class Clone:
    """A clone whose interpreter is the script FAKE, which reports `version` as its version."""

    def __init__(self, folder: Path, version: str = "3.12.1", ensurepip: bool = True) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        python = folder / "fake"
        python.write_text(f"""#!/bin/sh
            case "$*" in
                *version_info*) echo {version};;
                *ensurepip*) {"echo there" if ensurepip else "exit 1"};;
                *) echo "$*" >> log;;
            esac
            case "$*" in
                "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python;;
                *"pip install"*) test ! -e offline;;
            esac
        """)
        python.chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # The variables of an outer make must not reach this one.
        outer = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "ARGS", "EXPERIMENT"}
        environment = {name: value for name, value in os.environ.items() if name not in outer}
        command = ["make", "PYTHON=./fake", *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60)

    def calls(self, *arguments: str) -> list[str]:
        """The calls of the interpreter by `make` with these arguments."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        self.make(*arguments)
        return log.read_text().splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_second_run_installs_nothing(clone: Clone) -> None:
    assert clone.calls("train") == [VENV, LIBRARY, TRAIN]
    assert clone.calls("train") == [TRAIN]


def test_the_tools_are_installed_beside_the_packages_of_training(clone: Clone) -> None:
    assert clone.calls("train") == [VENV, LIBRARY, TRAIN]
    assert clone.calls("test") == [TOOLS, TEST]
    assert clone.calls("test") == [TEST]
    assert clone.calls("train") == [TRAIN]


def test_changed_pins_update_the_environment(clone: Clone) -> None:
    clone.make("test")
    late = (clone.folder / ".venv/installed-tools").stat().st_mtime + 10
    os.utime(clone.folder / "constraints.txt", (late, late))
    assert clone.calls("train") == [LIBRARY, TRAIN]


def test_an_interrupted_installation_is_repeated(clone: Clone) -> None:
    (clone.folder / "offline").touch()
    assert clone.calls("train") == [VENV, LIBRARY]
    (clone.folder / "offline").unlink()
    assert clone.calls("train") == [VENV, LIBRARY, TRAIN]
    (clone.folder / "offline").touch()
    assert clone.calls("test") == [TOOLS]
    (clone.folder / "offline").unlink()
    assert clone.calls("train") == [VENV, LIBRARY, TRAIN]


def test_overrides_reach_the_program_unchanged(clone: Clone) -> None:
    assert clone.calls("train", "EXPERIMENT=tanh_mlp", "ARGS=seed=1 'data.path=my file.csv'")[-1] == (
        "train.py experiment=tanh_mlp seed=1 data.path=my file.csv"
    )


def test_make_pythons_runs_with_the_given_interpreter(clone: Clone) -> None:
    assert clone.calls("pythons", "ARGS=lowest") == ["tests/pythons.py lowest"]


@pytest.mark.parametrize("version", ["2.7.18", "3.9.18", "3.14.0", "3.1.4"])
def test_a_python_out_of_range_is_refused_in_one_sentence(tmp_path: Path, version: str) -> None:
    done = Clone(tmp_path, version).make("train")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"./fake is Python {version}; nets needs Python 3.10 to 3.13" in line
    assert "make train PYTHON=python3.12" in line
    assert not (tmp_path / ".venv").exists()


def test_a_missing_python_is_refused_in_one_sentence(clone: Clone) -> None:
    done = clone.make("test", "PYTHON=no-such-python")
    (line,) = done.stderr.splitlines()
    assert "no-such-python is not to be found" in line
    assert "make test PYTHON=python3.12" in line


def test_a_python_without_ensurepip_is_refused_in_one_sentence(tmp_path: Path) -> None:
    done = Clone(tmp_path, ensurepip=False).make("train")
    (line,) = done.stderr.splitlines()
    assert "./fake comes without ensurepip" in line
    assert "python3-venv" in line
    assert not (tmp_path / ".venv").exists()


def test_help_names_every_target(clone: Clone) -> None:
    listed = {line.split()[0] for line in clone.make("help").stdout.splitlines()[1:]}
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert listed == set(phony.split()[1:])


def test_each_test_that_make_test_leaves_out_has_a_target() -> None:
    """A file whose tests are marked belongs to `make matrix` or `make power`."""
    marks = re.compile(r"mark\.matrix|first_in_test|chosen_in_test|EACH_SEED|marked\(")
    left_out = {path.name for path in (ROOT / "tests").glob("test_*.py") if marks.search(path.read_text("utf-8"))}
    left_out -= {Path(__file__).name}
    recipes = (ROOT / "Makefile").read_text("utf-8")
    assert {name for name in left_out if f"tests/{name} " not in recipes} == set()
    assert len(left_out) >= 10
