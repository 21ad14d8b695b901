"""Each mistake on the command line gives one sentence, and nothing is written.

bad_input.txt lists the command lines and the sentences. One program, which need load torch but once, runs them all.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train

LISTED = [
    line
    for line in Path(__file__).with_name("bad_input.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
SENTENCES = {command.removeprefix("$ "): sentence for command, sentence in zip(LISTED[::2], LISTED[1::2], strict=True)}

FILES = {
    "good.csv": "a,b,y\n" + "".join(f"{i},{i * i},{2 * i}\n" for i in range(20)),
    "empty.csv": "",
    "short.csv": "a,b,y\n1,2,3\n4,5,6\n7,8",
    "wide.csv": "a,b,y\n1,2,3\n4,5,6,7\n8,9,10\n",
    "nan.csv": "a,b,y\n1,2,3\n4,nan,6\n7,8,9\n",
    "text.csv": "a,b,y\n1,2,3\n4,many,6\n7,8,9\n",
}

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
    left = sorted(path.relative_to(folder).as_posix() for path in pathlib.Path(folder).rglob("*"))
    print(json.dumps({"status": status, "said": said.getvalue(), "left": left}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    np.savez(folder / "good.npz", x=np.arange(20.0), y=np.arange(20.0))
    (folder / "short.npz").write_bytes((folder / "good.npz").read_bytes()[:-50])
    return folder


@pytest.fixture(scope="module")
def ends(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """How each command line ended: its status, what it said on stderr, and what it left in its folder."""
    folder = tmp_path_factory.mktemp("ends")
    settings = [shlex.split(command.replace("{files}", str(files))) for command in SENTENCES]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([[str(folder / str(number)), *one] for number, one in enumerate(settings)]),
        capture_output=True,
        text=True,
        cwd=train.CONFIGS.parent,
        env={**os.environ, "HYDRA_FULL_ERROR": "0"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(SENTENCES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("command", SENTENCES)
def test_bad_input_gives_one_sentence_and_writes_nothing(
    command: str, ends: dict[str, dict[str, Any]], files: Path
) -> None:
    expected = SENTENCES[command].replace("{files}", str(files))
    said = ends[command]["said"]
    assert re.fullmatch(".+".join(map(re.escape, expected.split("…"))) + "\n", said), said
    assert said.endswith((".\n", "?\n"))
    assert ends[command]["status"] == 1
    # With -m, Hydra notes beforehand what it is about to run one after the other.
    note = r"runs(/multirun(/[^/]+(/multirun\.yaml)?)?)?" if "-m " in command else ""
    assert [path for path in ends[command]["left"] if not re.fullmatch(note, path)] == []


def test_existing_files_stay_unchanged(ends: dict[str, dict[str, Any]], files: Path) -> None:
    # Among the commands are some that would make their run directory of this folder, or of a file in it.
    assert ends and {name: (files / name).read_text("utf-8") for name in FILES} == FILES
    assert {path.name for path in files.iterdir()} == {*FILES, "good.npz", "short.npz"}


@pytest.mark.parametrize("setting", ["descent.learning_rat=1", "descent.learning_rate=-1"])
def test_a_traceback_is_shown_on_request(setting: str, tmp_path: Path) -> None:
    # The first fails before there is a configuration, the second with one.
    done = program(setting, cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert list(tmp_path.iterdir()) == []


def test_help_lists_the_settings(tmp_path: Path) -> None:
    done = program("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("tanh_linear", "teacher", "learning_rate: 0.05", "HYDRA_FULL_ERROR"):
        assert name in done.stdout
    assert list(tmp_path.iterdir()) == []


def program(*settings: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(train.CONFIGS.parent / "train.py"), *settings]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, timeout=120
    )
