"""The progress and the summary of a run, on a terminal and in a file."""

import io
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from nets.records.contributions import Accumulation
from nets.records.step import Step
from nets.telemetry import screen
from nets.telemetry.screen import progress, say, summary

PATH = "/tmp/" + "a rather long directory/" * 9 + "1.5e-3 [bold]run[/] :warning: 'x'"


def records(count: int, first: int = 1) -> list[Step]:
    return [
        Step.of(n, 1 + n // 100, 1 / n, {"w": 3 / n}, {"w": 1e-3}, Accumulation((1,), (1.0,)))
        for n in range(first, first + count)
    ]


def file_console(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width)


def terminal(width: int = 80, **settings: object) -> Console:
    # `environ` keeps the NO_COLOR, TERM and CI of whoever runs the tests out of them.
    settings = {"_environ": {"TERM": "xterm-256color"}, **settings}
    return Console(file=io.StringIO(), width=width, force_terminal=True, **settings)  # type: ignore[arg-type]


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("console", [file_console(), terminal()], ids=["file", "terminal"])
def test_steps_pass_through_unchanged(console: Console) -> None:
    steps = records(57)
    passed = list(progress(iter(steps), 57, console))
    assert all(one is other for one, other in zip(passed, steps, strict=True))


@pytest.mark.parametrize("console", [file_console(), terminal()], ids=["file", "terminal"])
def test_no_step_is_computed_before_it_is_asked_for(console: Console) -> None:
    computed = []

    def descend() -> Iterator[Step]:
        for step in records(5):
            computed.append(step.step)
            yield step

    shown = progress(descend(), 5, console)
    assert computed == []
    next(shown)
    assert computed == [1]


@pytest.mark.parametrize("total", [11, 15, 20, 100, 333, 450, 2000, 12345])
def test_plain_lines_are_ten_to_twenty_with_the_first_and_the_last_step(total: int) -> None:
    console = file_console()
    for _ in progress(records(total), total, console):
        pass
    lines = written(console).splitlines()
    steps = [int(re.match(rf"step +(\d+)/{total}  epoch", line)[1]) for line in lines]  # type: ignore[index]
    assert 8 <= len(lines) <= 22  # of 1, 2, 5 times a power of ten the steps between lines cannot suit every total
    assert (steps[0], steps[-1]) == (1, total)
    assert steps == sorted(set(steps))


def test_a_plain_line_has_step_epoch_loss_and_norm() -> None:
    console = file_console()
    list(progress(records(250), 250, console))
    # loss = 1/n and ‖g‖ = 3/n at step n, to four figures
    assert written(console).splitlines()[3] == "step  60/250  epoch 1   loss 0.01667     ‖g‖ 0.05"


def test_plain_lines_of_a_short_a_resumed_and_a_mismatched_run() -> None:
    for steps, total, wanted in (
        (records(1), 1, [1]),
        (records(3), 3, [1, 2, 3]),
        (records(4, first=98), 101, [98, 100, 101]),  # goes on where another left off
        (records(3), 100, [1, 3]),  # ends early, as on a diverging loss
        (records(3), 0, [1, 2, 3]),
        ([], 5, []),
    ):
        console = file_console()
        list(progress(steps, total, console))
        assert [int(line.split("/")[0].removeprefix("step")) for line in written(console).splitlines()] == wanted


def test_a_file_gets_plain_text_only() -> None:
    console = file_console()
    list(progress(records(40), 40, console))
    say(console, "said")
    summary(console, {"loss": "0.1"})
    assert "\x1b" not in written(console)
    assert "\r" not in written(console)


@pytest.mark.parametrize("width", [80, 200])
def test_the_bar_fits_its_terminal_and_shows_loss_and_norm(width: int) -> None:
    console = terminal(width)
    list(progress(records(50), 50, console))
    drawn = [line.rstrip() for line in re.split(r"[\r\n]+", without_escapes(written(console))) if line.strip()]
    assert all(len(line) <= width for line in drawn)
    assert "50/50" in drawn[-1]
    assert "loss 0.02" in drawn[-1]
    assert "‖g‖ 0.06" in drawn[-1]
    assert len(drawn[-1]) > width - 10  # the bar takes what the text leaves


def test_the_bar_is_redrawn_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that goes 1 ms further at each look: 1,000 steps are one second.
    clock = iter(range(10**9))
    monkeypatch.setattr(screen.time, "monotonic", lambda: next(clock) / 1000)
    console = terminal()
    list(progress(records(1000), 1000, console))
    drawn = re.findall(r"(\d+)/1000", without_escapes(written(console)))
    assert 10 <= len(drawn) <= 13  # ten, and what rich draws at its start and its end


def test_the_bar_runs_in_the_thread_of_the_steps() -> None:
    # A thread that redraws takes the interpreter's lock from the training in mid-step.
    def started() -> int:  # the thread that writes events may end at any time
        return sum(thread.name != "nets telemetry" for thread in threading.enumerate())

    before = started()
    assert [started() for _ in progress(records(5), 5, terminal())] == [before] * 5


def test_the_cursor_is_shown_again_after_any_end() -> None:
    # Hidden by ESC[?25l, shown by ESC[?25h (xterm control sequences, DECTCEM).
    console = terminal()
    with pytest.raises(RuntimeError, match="boom"):
        for step in progress(records(50), 50, console):
            if step.step == 20:
                raise RuntimeError("boom")
    assert written(console).count("\x1b[?25l") == 1
    assert written(console).rindex("\x1b[?25h") > written(console).rindex("\x1b[?25l")
    assert "20/50" in without_escapes(written(console))


def test_a_dumb_terminal_gets_plain_lines() -> None:
    console = terminal(_environ={"TERM": "dumb"})
    list(progress(records(3), 3, console))
    assert without_escapes(written(console)).startswith("step 1/3  epoch 1   loss 1 ")


def test_no_color_is_respected() -> None:
    # https://no-color.org: where NO_COLOR is set, no ANSI colour; bold and cursor movements are no colour.
    console = terminal(_environ={"TERM": "xterm-256color", "NO_COLOR": "1"})
    list(progress(records(50), 50, console))
    summary(console, {"loss": "0.1"})
    codes = {code for sequence in re.findall(r"\x1b\[([0-9;]*)m", written(console)) for code in sequence.split(";")}
    assert codes <= {"", "0", "1", "2"}
    coloured = terminal()
    list(progress(records(50), 50, coloured))
    assert "\x1b[38;5;" in written(coloured)


@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_path_stays_whole_on_a_line_of_its_own_row(width: int) -> None:
    for console in (file_console(width), terminal(width)):
        summary(console, {"run": PATH, "TensorBoard": f"tensorboard --logdir '{PATH}'"})
        assert without_escapes(written(console)).splitlines() == [
            f"run          {PATH}",
            f"TensorBoard  tensorboard --logdir '{PATH}'",
        ]
        # Whole for the terminal too: no escape sequence within it.
        assert PATH in written(console)


def test_summary_is_aligned_and_keeps_the_lines_of_a_text() -> None:
    console = file_console()
    summary(console, {"loss": "0.1", "diagnosis": "one\ntwo", "empty": ""})
    assert [line.rstrip() for line in written(console).splitlines()] == [
        "loss       0.1",
        "diagnosis  one",
        "           two",
        "empty",
    ]


def test_say_prints_its_arguments() -> None:
    table = "parameter  " + "formula " * 30 + "\n0.weight   [red]δ_ki X_j[/red] :smile: 1e-16"
    for console in (file_console(), terminal()):
        say(console, table)
        assert written(console) == f"{table}\n"


def test_an_output_without_unicode_gets_what_it_can_print() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii"), width=80)
    list(progress(records(1), 1, console))
    say(console, "∂Y/∂W")
    summary(console, {"‖g‖": "η = 0.1"})
    console.file.flush()
    assert raw.getvalue().decode("ascii").splitlines() == [
        "step 1/1  epoch 1   loss 1           |g| 3",
        "?Y/?W",
        "?g?  ? = 0.1",
    ]


def test_numbers_that_are_not_finite_are_shown() -> None:
    console = file_console()
    list(progress([Step.of(1, 1, math.nan, {"w": math.inf}, {"w": 1.0}, Accumulation((), ()))], 1, console))
    assert written(console) == "step 1/1  epoch 1   loss nan         ‖g‖ inf\n"


def test_without_a_console_it_is_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    list(progress(records(1), 1))
    assert capsys.readouterr().out == "step 1/1  epoch 1   loss 1           ‖g‖ 3\n"


def test_rich_is_imported_only_to_print(tmp_path: Path) -> None:
    import ast

    tree = ast.parse(Path(screen.__file__).read_text(encoding="utf-8"))
    at_import = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert at_import == ["collections.abc", "typing", "nets.records.step"]
