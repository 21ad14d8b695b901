"""`make pythons` finds each Python once, makes an environment for it, and reports the outcome.

The interpreters are shell scripts that log their arguments, so the tests install nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALL = "-m pip install -qq --disable-pip-version-check -c constraints.txt -e .[test]"


class Machine:
    """A clone, and a machine that has only the Pythons that the test installs."""

    def __init__(self, folder: Path) -> None:
        self.clone, self.on_path, self.home = folder / "clone", folder / "bin", folder / "home"
        (self.clone / "tests").mkdir(parents=True)
        self.on_path.mkdir()
        for name in ("pyproject.toml", "constraints.txt", "tests/pythons.py"):
            shutil.copy(ROOT / name, self.clone / name)

    def python(self, version: str, path: Path | None = None, calls_itself: str = "", failing: str = "nothing") -> None:
        """Make an interpreter at `path`, by default on PATH. It sleeps if a file called slow exists, and fails at
        `failing`."""
        name = "python" + version.rpartition(".")[0]
        path = path or self.on_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        own = calls_itself or version
        path.write_text(f"""#!/bin/sh
            case "$*" in
                *ensurepip*) echo python{own.rpartition(".")[0]} {own}; exit;;
                *"{failing}"*) exit 3;;
                "-m venv "*) /bin/mkdir -p "$3/bin" && /bin/cp "$0" "$3/bin/python";;
                *"pip install"*) test ! -e slow || exec /bin/sleep 60;;
            esac
            echo "$0 $*" >> log
        """)
        path.chmod(0o755)

    def run(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.on_path), "HOME": str(self.home), "NETS_INSTALL_SECONDS": str(seconds)}
        command = [sys.executable, "tests/pythons.py", *arguments]
        return subprocess.run(command, cwd=self.clone, env=environment, capture_output=True, text=True, timeout=120)

    def calls(self) -> list[str]:
        """The calls of the interpreters since the last call of this method."""
        log = self.clone / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line.replace(str(self.clone) + "/", "").replace(str(self.on_path) + "/", "") for line in lines]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The outcome of each Python, as printed at the end."""
    lines = done.stdout.rpartition("\n\n")[2].splitlines()
    return {name: words for name, _, words in (line.partition("  ") for line in lines)}


def test_each_python_has_its_own_environment(machine: Machine) -> None:
    machine.python("3.10.13")
    machine.python("3.12.1")
    done = machine.run()
    assert done.returncode == 0, done.stderr
    words = outcomes(done)
    assert words.keys() == {"python3.10", "python3.11", "python3.12", "python3.13"}
    assert words["python3.11"] == words["python3.13"] == "not found"
    assert words["python3.10"].startswith("3.10.13  passed: the main job and the command line's tests; installed in ")
    assert words["python3.12"].startswith("3.12.1  passed: ")
    calls = machine.calls()
    for name in ("python3.10", "python3.12"):
        own = f"build/pythons/{name}/bin/python"
        made, installed, trained, tested = [call for call in calls if name in call]
        assert made.endswith(f"{name} -m venv {machine.clone}/build/pythons/{name}".replace(f"{machine.clone}/", ""))
        assert installed == f"{own} {INSTALL}"
        assert trained.startswith(
            f"{own} train.py experiment=tanh_linear descent.epochs=1 run_dir=build/pythons/{name}/runs/"
        )
        assert tested.startswith(f"{own} -m pytest -q -p no:cacheprovider tests/test_train.py tests/test_bad_input.py ")


def test_an_environment_is_installed_again_only_if_the_pins_change(machine: Machine) -> None:
    machine.python("3.11.7")
    machine.run()
    assert len(machine.calls()) == 4
    machine.run()
    assert len(machine.calls()) == 2
    with (machine.clone / "constraints.txt").open("a") as constraints:
        constraints.write("# another\n")
    machine.run()
    assert len(machine.calls()) == 4


def test_lowest_selects_only_the_lowest_python(machine: Machine) -> None:
    machine.python("3.13.0")
    machine.python("3.11.7")
    words = outcomes(machine.run("lowest"))
    assert words["python3.11"].startswith("3.11.7  passed: ")
    assert (words["python3.10"], words["python3.12"], words["python3.13"]) == (
        "not found",
        "not found",
        "not asked for",
    )


def test_the_newest_python_of_pyenv_is_found_if_its_shim_does_not_run(machine: Machine) -> None:
    machine.python("3.12.1", calls_itself="3.8.1")  # a shim, while another version is chosen
    for version in ("3.12.9", "3.12.10", "3.9.18"):
        minor = version.rpartition(".")[0]
        machine.python(version, machine.home / ".pyenv/versions" / version / f"bin/python{minor}")
    words = outcomes(machine.run())
    assert words.pop("python3.12").startswith("3.12.10  passed: ")
    assert set(words.values()) == {"not found"}


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("train.py", "the main job ended with status 3"),
        ("-m pytest", "the command line's tests ended with status 3"),
        ("pip", "nets cannot be installed"),
        ("-m venv", "nets cannot be installed"),
    ],
)
def test_a_failure_is_named_and_the_other_pythons_still_run(machine: Machine, failing: str, said: str) -> None:
    machine.python("3.10.13", failing=failing)
    machine.python("3.12.1")
    done = machine.run()
    assert done.returncode == 1
    words = outcomes(done)
    assert words["python3.10"].startswith(f"3.10.13  FAILED: {said}")
    assert words["python3.12"].startswith("3.12.1  passed: ")


def test_an_installation_that_takes_too_long_is_skipped_and_removed(machine: Machine) -> None:
    machine.python("3.10.13")
    (machine.clone / "slow").touch()
    done = machine.run("lowest", seconds=2)
    assert done.returncode == 0
    assert outcomes(done)["python3.10"] == "3.10.13  left out, since its installation takes more than 0.0333 minutes"
    assert list((machine.clone / "build/pythons").iterdir()) == []


def test_a_machine_without_pythons_gets_one_sentence(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr == (
        "none of python3.10, python3.11, python3.12, python3.13 is found on PATH or among pyenv's: install one.\n"
    )


def test_an_unknown_argument_gets_one_sentence(machine: Machine) -> None:
    done = machine.run("highest")
    assert (done.returncode, done.stderr) == (2, "pythons was given 'highest'; expected nothing, or lowest.\n")


def test_the_test_files_that_it_runs_exist() -> None:
    for name in [
        word for word in (ROOT / "tests/pythons.py").read_text("utf-8").split('"') if word.startswith("tests/test_")
    ]:
        assert (ROOT / name).exists(), name
    assert os.access(ROOT / ".ci/run", os.X_OK) and "make pythons ARGS=lowest" in (ROOT / ".ci/run").read_text("utf-8")
