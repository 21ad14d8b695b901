"""Items are collected and written in groups: within a second, so that a run can be watched, and rarely enough to cost
nothing."""

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

MOST_ITEMS = 256
"""The number of items in a group."""

DELAY = 1.0
"""Seconds after which an item is written, however few there are."""


class BufferedWriter(Generic[Item]):
    """Items, each with the time at which it was added, are written in groups and in order.

    The last items are written when the writer is closed, when it is collected as garbage, and at exit.

    Args:
        write: takes items and their times. An error of it is raised by the next call of any method here.
        close: is called once, after the last group.

    Neither function may refer to the owner of this writer: a list that outlives the owner holds them, so the owner
    would never be collected.
    """

    def __init__(self, write: Callable[[list[Item], list[float]], None], close: Callable[[], None]) -> None:
        self._buffer = _Buffer(write)
        self._finish = weakref.finalize(self, _finish, self._buffer, close)
        _flusher.add(self._buffer)

    def add(self, item: Item) -> None:
        """Keep an item until its group is full or DELAY is over.

        Raises:
            ValueError: after `close`.
        """
        self._buffer.add(item)

    def flush(self) -> None:
        """Write all items now."""
        self._buffer.flush()

    def close(self) -> None:
        """Write all items and end. A second call does nothing."""
        self._finish()


class _Buffer:
    """The items of one writer. It outlives the writer until they are written."""

    def __init__(self, write: Callable[[list[Any], list[float]], None]) -> None:
        # Reentrant: a signal or the garbage collector may end the writer in the middle of any call, in the same thread.
        self._write, self._lock = write, threading.RLock()
        self._pending: list[tuple[Any, float]] = []
        self._error: BaseException | None = None
        self._closed = False

    def add(self, item: Any) -> None:
        if self._closed:
            raise ValueError("written to after it was closed; expected all that is to be written to come before.")
        with self._lock:
            self._pending.append((item, time.time()))
            if len(self._pending) >= MOST_ITEMS or self._error is not None:
                self.flush()

    def flush(self) -> None:
        with self._lock:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            pending, self._pending = self._pending, []
            if pending:
                items, times = zip(*pending, strict=True)
                self._write(list(items), list(times))

    def flush_later_errors(self) -> None:
        """The same from the shared thread: an error is kept for the thread that adds the next item."""
        try:
            self.flush()
        except Exception as error:
            self._error = error

    def close(self) -> None:
        self._closed = True
        self.flush()


def _finish(buffer: _Buffer, close: Callable[[], None]) -> None:
    try:
        _flusher.discard(buffer)
        buffer.close()
    finally:
        close()


class _Flusher:
    """One daemon thread that flushes all buffers of the process every DELAY seconds. It ends with the last of them."""

    def __init__(self) -> None:
        self._buffers: list[_Buffer] = []
        self._emptied = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None

    def add(self, buffer: _Buffer) -> None:
        with self._emptied:
            self._buffers.append(buffer)
            if self._thread is None or not self._thread.is_alive():  # a fork leaves it behind
                self._thread = threading.Thread(target=self._run, name="nets telemetry", daemon=True)
                self._thread.start()

    def discard(self, buffer: _Buffer) -> None:
        with self._emptied:
            self._buffers.remove(buffer)
            self._emptied.notify()

    def _run(self) -> None:
        while True:
            with self._emptied:
                if self._emptied.wait_for(lambda: not self._buffers, DELAY):
                    self._thread = None
                    return
                due = list(self._buffers)
            for buffer in due:
                buffer.flush_later_errors()


_flusher = _Flusher()
