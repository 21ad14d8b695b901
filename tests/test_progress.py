"""The line of a long verification: on a terminal only, after two seconds, and erased at the end."""

import io
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.verification import progress
from nets.verification.progress import following, shown

HIDDEN, VISIBLE = "\x1b[?25l", "\x1b[?25h"
"""What a program writes to hide the cursor of a terminal, and to show it again."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def until(self, text: str) -> None:
        """Wait for it to be written, by another thread."""
        end = time.monotonic() + 30
        while text not in self.getvalue():
            assert time.monotonic() < end, self.getvalue()
            time.sleep(0.005)

    @property
    def restored(self) -> bool:
        """Whether the cursor was hidden, and is visible, and the last line is erased."""
        written = self.getvalue()
        return 0 <= written.rfind(HIDDEN) < written.rfind(VISIBLE) and "\x1b[2K" in written[written.rfind("0:") :]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal to take the place of standard error, as outside of pytest. It shows the line at once."""
    monkeypatch.setattr(progress, "AFTER", 0.0)
    monkeypatch.setattr(progress, "REFRESHES_PER_SECOND", 100)
    monkeypatch.setattr(progress, "PYTEST", "IN_NO_TEST")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    for forced in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(forced, raising=False)
    return Terminal()


class Waits(nn.Module):
    """Calls the function given, before it computes anything."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.linear, self.meanwhile = nets.mlp([2, 1]), meanwhile

    def __deepcopy__(self, memo: dict[int, object]) -> "Waits":
        copied = Waits(self.meanwhile)
        copied.load_state_dict(self.state_dict())
        return copied.to(next(self.parameters()).dtype)

    def forward(self, x: Tensor) -> Tensor:
        self.meanwhile()
        return self.linear(x)


X = torch.tensor([[0.3, -0.8]])


def test_the_line_counts_and_is_erased(terminal: Terminal) -> None:
    with redirect_stderr(terminal), shown("looking"):
        terminal.until("looking ")
        seen = []
        for point in following("point", ["a", "b", "c"]):
            seen.append(point)
            terminal.until(f"looking: point {len(seen)} of 3")
    assert seen == ["a", "b", "c"]
    assert terminal.restored


def test_the_line_does_not_mention_a_loop_that_is_over(terminal: Terminal) -> None:
    with redirect_stderr(terminal), shown("looking"):
        list(following("point", range(3)))
        terminal.until("looking ")
    assert "point" not in terminal.getvalue().rpartition("looking")[2]


def test_nothing_is_shown_in_the_first_two_seconds(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress.AFTER == 0.0
    monkeypatch.setattr(progress, "AFTER", 60.0)
    with redirect_stderr(terminal), shown("looking"):
        assert list(following("point", range(3))) == [0, 1, 2]
    assert terminal.getvalue() == ""
    assert not [
        thread
        for thread in threading.enumerate()
        if isinstance(thread, threading.Timer) and not thread.finished.is_set()
    ]


@pytest.mark.parametrize("where", ["a pipe", "pytest", "a dumb terminal", "no standard error"])
def test_nothing_is_shown_without_a_terminal(where: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    if where == "a pipe":
        monkeypatch.setattr(Terminal, "isatty", lambda self: False)
    if where == "pytest":
        monkeypatch.setattr(progress, "PYTEST", "PYTEST_CURRENT_TEST")
    if where == "a dumb terminal":
        monkeypatch.setenv("TERM", "dumb")
    with redirect_stderr(None if where == "no standard error" else terminal), shown("looking"):
        time.sleep(0.05)
        assert list(following("point", range(3))) == [0, 1, 2]
    assert terminal.getvalue() == ""


def test_forced_colours_do_not_make_a_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "isatty", lambda self: False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with redirect_stderr(terminal), shown("looking"):
        time.sleep(0.05)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_cursor_visible(end: type[BaseException], terminal: Terminal) -> None:
    with redirect_stderr(terminal), pytest.raises(end), shown("looking"):
        for _ in following("point", range(3)):
            terminal.until("looking")
            raise end
    assert terminal.restored


def test_one_of_several_threads_is_shown(terminal: Terminal) -> None:
    together = threading.Barrier(3)
    found: list[list[int]] = []

    def look(title: str) -> None:
        with shown(title):
            together.wait()
            terminal.until(" looks")
            found.append(list(following("point", range(100))))
            together.wait()

    threads = [
        threading.Thread(target=look, args=(f"{name} looks",)) for name in ("the first", "the second", "the third")
    ]
    with redirect_stderr(terminal):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [list(range(100))] * 3
    assert sum(f"{name} looks" in terminal.getvalue() for name in ("the first", "the second", "the third")) == 1
    assert terminal.restored
    with redirect_stderr(terminal), shown("afterwards"):
        terminal.until("afterwards")


def test_a_nested_block_shows_nothing(terminal: Terminal) -> None:
    with redirect_stderr(terminal), shown("the outer"):
        with shown("the inner"):
            terminal.until("the outer")
        list(following("point", range(3)))
    assert "the inner" not in terminal.getvalue() and terminal.restored


def test_verify_shows_which_point_it_checks(terminal: Terminal) -> None:
    def wait() -> None:
        terminal.until("checking every derivative")
        time.sleep(0.02)

    with redirect_stderr(terminal):
        assert nets.verify(Waits(wait), X).passed
    assert "checking every derivative: parameter or input 2 of 3" in terminal.getvalue()
    assert terminal.restored


def test_check_accumulation_shows_that_it_goes_on(terminal: Terminal) -> None:
    module = Waits(lambda: terminal.until("checking an accumulation"))
    batches = [(X, torch.tensor([[1.0]])), (-X, torch.tensor([[0.5]]))]
    with redirect_stderr(terminal):
        assert nets.check_accumulation(module, nn.functional.mse_loss, batches).passed
    assert terminal.restored


def test_what_a_module_prints_is_not_redirected(terminal: Terminal) -> None:
    said = io.StringIO()

    def speak() -> None:
        with redirect_stdout(said):
            terminal.until("checking")
            print("here")

    with redirect_stderr(terminal):
        out = sys.stdout
        assert nets.verify(Waits(speak), X).passed
        assert sys.stdout is out and sys.stderr is terminal
    assert set(said.getvalue().split()) == {"here"}
    assert "here" not in terminal.getvalue()


def test_the_certificate_is_the_same_with_and_without_the_line(terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        watched = nets.verify(Waits(lambda: terminal.until(HIDDEN)), X, seed=5)
    assert nets.verify(Waits(lambda: None), X, seed=5) == watched
