"""What a user can get wrong on the command line, and what they are told: one sentence, and nothing is written.

The sentences are collected by one program that runs the command lines one after the other, each in an empty folder.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train

PROGRAM = """
import contextlib, io, json, os, pathlib, sys
sys.path[0] = os.getcwd()  # not wherever we go
import train

for folder, *settings in json.load(sys.stdin):
    os.makedirs(folder)
    os.chdir(folder)
    sys.argv = ["train.py", *settings]
    said, status = io.StringIO(), 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            train.main()
        except SystemExit as end:
            status = end.code
    left = sorted(str(path) for path in pathlib.Path(folder).rglob("*"))
    print(json.dumps({"status": status, "said": said.getvalue(), "left": left}))
"""

TABLES = {
    "good.csv": "a,b,y\n" + "".join(f"{i},{i * i},{2 * i}\n" for i in range(20)),
    "empty.csv": "",
    "short.csv": "a,b,y\n1,2,3\n4,5,6\n7,8",
    "wide.csv": "a,b,y\n1,2,3\n4,5,6,7\n8,9,10\n",
    "nan.csv": "a,b,y\n1,2,3\n4,nan,6\n7,8,9\n",
    "text.csv": "a,b,y\n1,2,3\n4,many,6\n7,8,9\n",
}


# What was given, what was expected, how to mend it. {tables} is a folder with the files above.
@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "tables"
    folder.mkdir()
    for name, text in TABLES.items():
        (folder / name).write_text(text, "utf-8")
    np.savez(folder / "whole.npz", x=np.arange(20.0), y=np.arange(20.0))
    (folder / "short.npz").write_bytes((folder / "whole.npz").read_bytes()[:-50])
    return folder


@pytest.fixture(scope="module")
def ended(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """How each command line ended: its status, what it said on stderr, and the files it left."""
    folder = tmp_path_factory.mktemp("ended")
    lines = [
        [str(folder / str(number)), *(setting.replace("{tables}", str(tables)) for setting in settings)]
        for number, (settings, _) in enumerate(CASES.values())
    ]
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=train.CONFIGS.parent,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_nothing_written(case: str, ended: dict[str, dict[str, Any]]) -> None:
    end, (settings, expected) = ended[case], CASES[case]
    assert re.fullmatch(f"{expected}\n", end["said"]), end["said"]
    assert end["status"] == 1
    sweep = r".*/runs(/multirun(/[^/]+(/multirun\.yaml)?)?)?"  # Hydra's own note of what was to be run one after the other
    assert [path for path in end["left"] if "-m" not in settings or not re.fullmatch(sweep, path)] == []


def test_what_was_there_stays_as_it_was(ended: dict[str, dict[str, Any]], tables: Path) -> None:
    assert {name: (tables / name).read_text("utf-8") for name in TABLES} == TABLES
    assert {path.name for path in tables.iterdir()} == {*TABLES, "whole.npz", "short.npz"}


@pytest.mark.parametrize("setting", ["descent.learning_rat=1", "descent.learning_rate=-1"])
def test_a_traceback_for_those_who_ask(setting: str, tmp_path: Path) -> None:
    # The first fails before there are settings, the second with them.
    done = program(setting, cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback (most recent call last):" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help(tmp_path: Path) -> None:
    done = program("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("tanh_linear", "teacher", "learning_rate: 0.05", "HYDRA_FULL_ERROR"):
        assert name in done.stdout
    assert list(tmp_path.iterdir()) == []


def program(*settings: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(train.CONFIGS.parent / "train.py"), *settings]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, timeout=120)
