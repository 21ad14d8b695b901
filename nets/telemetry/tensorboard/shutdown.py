"""What must be done before the process ends, however it ends short of being killed."""

import atexit
import signal
import sys
import threading
from types import FrameType
from typing import Protocol

TERMINATED = 128 + signal.SIGTERM
"""The exit status of a program that SIGTERM has ended."""


class Closable(Protocol):
    """Something with an end of its own."""

    def close(self) -> None: ...


_open: dict[int, Closable] = {}


def closed_at_exit(thing: Closable) -> None:
    """Close it at exit, unless `closed` is called before. SIGTERM, which would end the process at once, becomes an exit like any
    other, unless the program has its own way with it."""
    _open[id(thing)] = thing
    mine = threading.current_thread() is threading.main_thread()  # the only one that may say what a signal does
    if mine and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)


def closed(thing: Closable) -> None:
    """It needs no closing any more."""
    _open.pop(id(thing), None)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


@atexit.register
def _close_all() -> None:
    for thing in list(_open.values()):
        thing.close()
