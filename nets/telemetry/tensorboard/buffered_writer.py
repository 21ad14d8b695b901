"""What is to be written is collected, and handed over in groups: often enough to be watched, seldom enough to cost nothing."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from nets.telemetry.tensorboard.shutdown import closed, closed_at_exit

Item = TypeVar("Item")

MOST = 256
"""Items in a group at most."""

DELAY = 1.0
"""Seconds after which an item has been handed over at the latest, however few there are."""


class Delayed(Generic[Item]):
    """Items, each with the time at which it came, handed to `write` in groups and in order.

    Args:
        write: is given the items and their times. An error of it is raised by the next call of any method here.
    """

    def __init__(self, write: Callable[[list[Item], list[float]], None]) -> None:
        # Reentrant, since a signal may end the program in the middle of anything, and everything is handed over then.
        self._write, self._lock = write, threading.RLock()
        self._pending: list[tuple[Item, float]] = []
        self._error: BaseException | None = None
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="nets telemetry", daemon=True)
        self._watcher.start()
        closed_at_exit(self)

    def add(self, item: Item) -> None:
        """Keep an item until its group is full or old enough.

        Raises:
            ValueError: after `close`, when nobody would write it.
        """
        if self._closed.is_set():
            raise ValueError("written to after it was closed; expected all that is to be written to come before.")
        with self._lock:
            self._pending.append((item, time.time()))
            if len(self._pending) >= MOST or self._error is not None:
                self._hand_over()

    def flush(self) -> None:
        """Hand over everything that there is."""
        with self._lock:
            self._hand_over()

    def close(self) -> None:
        """Hand over everything that there is, and stop watching the time. A second call does nothing."""
        self._closed.set()
        closed(self)
        self.flush()

    def _hand_over(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        pending, self._pending = self._pending, []
        if pending:
            items, times = zip(*pending, strict=True)
            self._write(list(items), list(times))

    def _watch(self) -> None:
        while not self._closed.wait(DELAY):
            try:
                self.flush()
            except Exception as error:  # it belongs to whoever adds the next item
                self._error = error
