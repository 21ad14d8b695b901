"""The progress of a long verification, as a line on the standard error that is erased at the end."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

AFTER = 2.0
"""Seconds before anything is shown."""

REFRESHES_PER_SECOND = 5

POINTS = "parameter or input"
"""What is counted while a verification goes on."""

PYTEST = "PYTEST_CURRENT_TEST"
"""The environment variable that pytest sets for as long as a test runs."""


@contextlib.contextmanager
def shown(title: str) -> Iterator[None]:
    """Once the block has taken `AFTER` seconds, show its title, the time since its start, and the position of
    `following`.

    Nothing is shown if the standard error is a pipe, a file or a notebook, nor under pytest. If several threads verify
    at the same time, one of them is shown. However the block ends, the line is erased and the cursor is visible again.
    """
    if _current.get() is not None or not _on_a_terminal():
        yield
        return
    line = _Line(title)
    before = _current.set(line)
    try:
        yield
    finally:
        _current.reset(before)
        line.stop()


def following(what: str, points: Collection[T]) -> Iterator[T]:
    """Pass `points` through, and show the position among them as '`what` 3 of 8'."""
    line = _current.get()
    for number, point in enumerate(points, start=1):
        if line is not None:
            line.at(f": {what} {number:,} of {len(points):,}", number - 1, len(points))
        yield point
    if line is not None:
        line.at("", None, None)


class _Line:
    """A progress bar that a timer starts, since a single call of a module may take longer than `AFTER`."""

    def __init__(self, title: str) -> None:
        self.title, self._began = title, time.monotonic()
        self._place: tuple[str, int | None, int | None] = ("", None, None)
        self._bar: Progress | None = None
        self._stopped = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(AFTER, self._start)
        self._timer.daemon = True
        self._timer.start()

    def at(self, words: str, done: int | None, total: int | None) -> None:
        with self._lock:
            self._place = (words, done, total)
            self._show()

    def stop(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._stopped = True
            if self._bar is not None:
                self._bar.stop()
                _terminal.release()

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        console = Console(stderr=True)
        with self._lock:
            if self._stopped or not console.is_interactive or not _terminal.acquire(blocking=False):
                return
            # Without redirection: rich would undo the caller's own, from this thread.
            self._bar = Progress(
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
                BarColumn(bar_width=None),
                TimeElapsedColumn(),
                console=console,
                transient=True,
                expand=True,
                redirect_stdout=False,
                redirect_stderr=False,
                refresh_per_second=REFRESHES_PER_SECOND,
            )
            self._bar.add_task(self.title, total=None)
            self._bar.tasks[0].start_time = self._began
            self._show()
            self._bar.start()

    def _show(self) -> None:
        if self._bar is not None:
            words, done, total = self._place
            (task,) = self._bar.task_ids
            self._bar.update(task, description=f"{self.title}{words}", completed=done or 0)
            # `update` takes None for 'as before'; here it means that the total is unknown.
            self._bar.tasks[0].total = total


_current: ContextVar[_Line | None] = ContextVar("_current", default=None)
_terminal = threading.Lock()
"""Held by the one line that is shown."""


def _on_a_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and PYTEST not in os.environ
