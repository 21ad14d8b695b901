"""What a user can get wrong on the command line, and what they are told: one sentence, and nothing is written.

The sentences are collected by one program that runs the command lines one after the other, each in an empty folder.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from nets.telemetry.board import Board

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
CASES: dict[str, tuple[list[str], str]] = {
    # names that there are not
    "misspelt key": (
        ["descent.learning_rat=0.1"],
        r"'descent\.learning_rat' is not a setting; did you mean 'descent\.learning_rate'\?",
    ),
    "misspelt key, added": (
        ["+descent.learning_rat=0.1"],
        r"'descent\.learning_rat' is not a setting; did you mean 'descent\.learning_rate'\?",
    ),
    "misspelt key of the network": (
        ["network.siezs=[64,10]"],
        r"'network\.siezs' is not a setting; did you mean 'network\.sizes'\?",
    ),
    "misspelt key of the data, added": (
        ["+data.test_fractoin=0.5"],
        r"'data\.test_fractoin' is not a setting; did you mean 'data\.test_fraction'\?",
    ),
    "key without its section": (
        ["learning_rate=0.1"],
        r"'learning_rate' is not a setting; did you mean 'descent\.learning_rate'\?",
    ),
    "key of its own": (["+sped=1"], r"'sped' is not a setting; did you mean 'seed'\?"),
    "key that resembles none": (
        ["zzz=1"],
        r"'zzz' is not a setting; python train\.py --help lists them\.",
    ),
    "key of other data": (["data.path=x.csv"], r"'data\.path' is a setting of data=table, which was not chosen: add data=table\."),
    "misspelt group": (["experimnt=linear"], r"'experimnt' is not a setting; did you mean 'experiment'\?"),
    "unknown experiment": (
        ["experiment=tanh_linaer"],
        r"there is no experiment called 'tanh_linaer'; did you mean 'tanh_linear'\?",
    ),
    "unknown experiment among several": (
        ["-m", "experiment=zzz,linear"],
        r"there is no experiment called 'zzz'; expected one of accumulated, .*, teacher\.",
    ),
    "unknown data": (["data=digit"], r"there is no data called 'digit'; did you mean 'digits'\?"),
    "unknown configuration": (
        ["--config-name", "zzz"],
        r"there is no configuration called 'zzz'; python train\.py --help lists them\.",
    ),
    # values of the wrong kind or size
    "negative learning rate": (["descent.learning_rate=-0.1"], r"learning_rate is -0\.1; expected a number from 0 up\."),
    "learning rate of zero": (["descent.learning_rate=0"], r"learning_rate is 0; expected a number above 0: .*\."),
    "learning rate in words": (
        ["descent.learning_rate=fast"],
        r'descent\.learning_rate="fast" was given where a finite number is expected\.',
    ),
    "learning rate that is no number": (
        ["descent.learning_rate=nan"],
        r"descent\.learning_rate=NaN was given where a finite number is expected\.",
    ),
    "no learning rate": (
        ["descent.learning_rate=null"],
        r"descent\.learning_rate=null was given where a finite number is expected\.",
    ),
    "learning rate taken away": (
        ["~descent.learning_rate"],
        r"'descent\.learning_rate' is missing where a finite number is expected: set it, as descent\.learning_rate=VALUE\.",
    ),
    "momentum of one": (["descent.momentum=1"], r"momentum is 1; expected a number from 0 up and below 1\."),
    "negative weight decay": (["descent.weight_decay=-1"], r"weight_decay is -1; expected a number from 0 up\."),
    "batch of nothing": (
        ["descent.batch_size=0"],
        r"batch_size is 0; expected a whole number from 1 up, or null for no limit\.",
    ),
    "batch of a half": (
        ["descent.batch_size=0.5"],
        r"descent\.batch_size=0\.5 was given where a whole number or null is expected\.",
    ),
    "epochs as yes": (
        ["descent.epochs=true"],
        r"descent\.epochs=true was given where a whole number or null is expected\.",
    ),
    "no end": (
        ["descent.epochs=null", "descent.steps=null"],
        r"descent was given neither epochs nor steps; expected at least one of them: say when to stop\.",
    ),
    "unknown engine": (["descent.engine=magic"], r"the engine is 'magic'; expected one of closed_form, autograd\."),
    "unknown loss": (
        ["loss=absolute"],
        r"loss='absolute' was given where 'mean_squared_error' or 'cross_entropy' is expected\.",
    ),
    "unknown precision": (["dtype=float16"], r"dtype='float16' was given where 'float32' or 'float64' is expected\."),
    "negative seed": (["seed=-1"], r"seed=-1 was given where a whole number from 0 to 2\^63 - 1 is expected\."),
    "seed in words": (["seed=one"], r'seed="one" was given where a whole number is expected\.'),
    "seeds without -m": (
        ["seed=0,1"],
        r"Ambiguous value for argument 'seed=0,1': add -m to make a run with each, or write brackets around a list\.",
    ),
    "no points to verify at": (
        ["verification.samples=0"],
        r"verification\.samples=0 was given where a whole number of at least 1 is expected\.",
    ),
    "unknown coverage": (
        ["verification.coverage=some"],
        r"verification\.coverage='some' was given where 'auto' or 'full' is expected\.",
    ),
    # networks that cannot be, or do not fit
    "one size": (
        ["network.sizes=[64]"],
        r"sizes is \[64\]; expected two or more whole numbers from 1 up, .*, such as \[64, 10\]\.",
    ),
    "size that is no list": (
        ["network.sizes=64"],
        r"network\.sizes=64 was given where a list \(of which each entry is a whole number\) is expected\.",
    ),
    "size of zero": (["network.sizes=[64,0,10]"], r"sizes is \[64, 0, 10\]; expected two or more whole numbers from 1 up, .*\."),
    "size in words": (
        ["network.sizes=[64,ten]"],
        r'network\.sizes=\[64, "ten"\] was given where a list \(of which each entry is a whole number\) is expected\.',
    ),
    "size beyond memory": (
        ["network.sizes=[64,100000000000,10]"],
        r"there is not enough memory: make network\.sizes, .* smaller\.",
    ),
    "first size": (
        ["network.sizes=[63,10]"],
        r"a Linear layer with 63 inputs was given X with 64 features: the sizes of the network must begin with .*\.",
    ),
    "last size, of values": (
        ["network.sizes=[64,9]"],
        r"mean squared error was given targets of shape .* for outputs of shape .*: set the last of the network's sizes .*\.",
    ),
    # The first sample alone would fit, its class being one of the five.
    "last size, of classes": (
        ["experiment=tanh_mlp", "network.sizes=[64,5]"],
        r"cross entropy was given the classes 0 to 9 for 5 outputs; expected .*: set the last of the network's sizes .*\.",
    ),
    "classes for a loss of values": (
        ["data.targets=classes"],
        r"mean squared error was given targets of shape .*, or use cross_entropy for classes\.",
    ),
    "values for a loss of classes": (
        ["loss=cross_entropy"],
        r"cross entropy was given targets of shape .*: set data\.targets=classes, or use mean_squared_error\.",
    ),
    "unknown activation": (
        ["experiment=tanh_mlp", "network.activation=tan"],
        r"the activation is 'tan'; expected one of tanh, .*, identity\.",
    ),
    "unknown activation in a chain": (
        ["network.output=tanh+tan"],
        r"the activation is 'tan'; expected one of tanh, .*, identity\.",
    ),
    "no activation": (["network.output=null"], r"network\.output=null was given where text is expected\."),
    "gain that is no number": (["network.gain=nan"], r"network\.gain=NaN was given where a finite number is expected\."),
    "network that is a number": (["network=5"], r"network=5 was given where a section of settings is expected\."),
    # data that cannot be read
    "code as data": (
        ["data._target_=torch.load"],
        r"data\._target_='torch\.load' was given where 'nets\.data\.diabetes' or .* or 'nets\.data\.teacher' is expected\.",
    ),
    "unknown kind of target": (
        ["data.targets=both"],
        r"targets='both' was given where 'signed' or 'classes' is expected\.",
    ),
    "fraction beyond one": (["data.test_fraction=2"], r"test_fraction=2 was given where a number between 0 and 1, .*\."),
    "no file named": (
        ["data=table"],
        r"'data\.path' has no value, and needs one: add data\.path=VALUE to the command line\.",
    ),
    "no such file": (
        ["data=table", "data.path=gone.csv", "data.target=y"],
        r"There is no file .*gone\.csv where a CSV or NPZ file is expected: mend the path, .*\.",
    ),
    "empty file": (
        ["data=table", "data.path={tables}/empty.csv", "data.target=y"],
        r"\S+empty\.csv is empty where a header with the names of the columns, and samples below it, are expected\.",
    ),
    "file cut short": (
        ["data=table", "data.path={tables}/short.csv", "data.target=y"],
        r"Line 4 of \S+short\.csv has 2 fields where the header names 3 columns: the file may be cut short there\.",
    ),
    "archive cut short": (
        ["data=table", "data.path={tables}/short.npz", "data.target=y"],
        r"\S+short\.npz is cut short or no NPZ archive \(.*\): write it with numpy\.savez, .*\.",
    ),
    "row too wide": (
        ["data=table", "data.path={tables}/wide.csv", "data.target=y"],
        r"Line 3 of \S+wide\.csv has 4 fields where the header names 3 columns: .*\.",
    ),
    "value that is NaN": (
        ["data=table", "data.path={tables}/nan.csv", "data.target=y"],
        r"Column 'b' of \S+nan\.csv has 'nan' in line 3 where a finite number such as 3\.5 is expected: .*\.",
    ),
    "value in words": (
        ["data=table", "data.path={tables}/text.csv", "data.target=y"],
        r"Column 'b' of \S+text\.csv has 'many' in line 3 where a finite number such as 3\.5 is expected: .*\.",
    ),
    "unknown column": (
        ["data=table", "data.path={tables}/good.csv", "data.target=z"],
        r"target names 'z', which \S+good\.csv does not have among 'a', 'b', 'y': .*[.?]",
    ),
    "table of another width": (
        ["data=table", "data.path={tables}/good.csv", "data.target=y", "network.sizes=[64,1]"],
        r"a Linear layer with 64 inputs was given X with 2 features: .*\.",
    ),
    "no images": (
        ["experiment=mnist"],
        r"MNIST was looked for in .*/data/MNIST/raw, which lacks .*, or have them fetched with data\.download=true\.",
    ),
    # places that cannot be written
    "run directory in use": (
        ["run_dir={tables}"],
        r"run_dir=\S+tables is there already, and no run is ever overwritten: name a new directory\.",
    ),
    "run directory that is a file": (
        ["run_dir={tables}/good.csv"],
        r"run_dir=\S+good\.csv is there already, and no run is ever overwritten: name a new directory\.",
    ),
    "run directory below a file": (
        ["run_dir={tables}/good.csv/run"],
        r"'\S+good\.csv/run' cannot be read or written \(Not a directory\): mend that, or set run_dir elsewhere\.",
    ),
    "run directory that is a number": (["run_dir=5"], r"run_dir=5 was given where text or null is expected\."),
    # what is no setting at all
    "key without a value": (
        ["descent.learning_rate"],
        r"'descent\.learning_rate' is not KEY=VALUE: close each bracket, and quote unusual text twice \('KEY=\"my file\"'\)\.",
    ),
    "bracket left open": (["foo=["], r"'foo=\[' is not KEY=VALUE: close each bracket, .*\."),
    "group that is a number": (
        ["descent=5"],
        r"the settings cannot be read \(.*\): python train\.py --help lists what they are\.",
    ),
    "setting of a setting that there is not": (
        ["data.seed=${sed}"],
        r"the settings cannot be read \(Interpolation key 'sed' not found .*\): python train\.py --help lists what they are\.",
    ),
}


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


# Runs that end before their time.


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # main() sets it
    monkeypatch.setattr(train, "TRACEBACK_WANTED", False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def end_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *settings: str) -> tuple[int, str]:
    """Status and stderr of a run in this process."""
    monkeypatch.setattr(sys, "argv", ["train.py", "experiment=linear", "verification.samples=1", *settings])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


def steps_in(directory: Path) -> list[int]:
    return [event.step for event in EventAccumulator(str(directory)).Reload().Scalars("loss/train")]


def test_divergence(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # The error grows by about a factor of η λ a step, λ ≤ 2 (10 + 1) the largest curvature: beyond float32 in ten steps.
    status, said = end_of(monkeypatch, capsys, "descent.learning_rate=1e6", "run_dir=run")
    assert status == 1
    found = re.fullmatch(
        r"step (\d+): the loss is .*; expected finite numbers: lower the learning rate \(1e\+06\), .*"
        r"; what was recorded is in run\.\n",
        said,
    )
    assert found is not None, said
    last = int(found[1])
    assert last < 20
    assert steps_in(here / "run") == list(range(1, last + 1))
    assert (here / "run" / "gradients.png").exists() and not (here / "run" / "weights.safetensors").exists()


def test_interruption(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # Ctrl-C is the signal SIGINT. 130 is the status that shells give to a program that ended by it: 128 + 2.
    write = Board.write

    def write_until_the_tenth(board: Board, step: Any, **seen: Any) -> None:
        write(board, step, **seen)
        if step.step == 10:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Board, "write", write_until_the_tenth)
    assert end_of(monkeypatch, capsys, "run_dir=run") == (130, "interrupted; what was recorded is in run.\n")
    assert steps_in(here / "run") == list(range(1, 11))
    assert (here / "run" / "gradients.png").exists() and not (here / "run" / "weights.safetensors").exists()


def test_interruption_before_the_first_step(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verify(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("nets.verify", verify)
    assert end_of(monkeypatch, capsys, "run_dir=run") == (130, "interrupted; nothing was recorded.\n")
    assert list(here.iterdir()) == []


def test_a_full_disk(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def write(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "run/events")

    monkeypatch.setattr(Board, "write", write)
    status, said = end_of(monkeypatch, capsys, "run_dir=run")
    expected = "'run/events' cannot be read or written (No space left on device): mend that, or set run_dir elsewhere.\n"
    assert (status, said) == (1, expected)


def test_a_fault_of_ours_shows_its_traceback(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nets.verify", lambda *_, **__: 1 / 0)
    status, said = end_of(monkeypatch, capsys)
    assert status == 1
    assert said.startswith("Traceback") and said.endswith("ZeroDivisionError: division by zero\n")
    assert not list(here.glob("runs/*/*"))
