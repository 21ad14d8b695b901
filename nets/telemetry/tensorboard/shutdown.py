"""SIGTERM as an exit, for programs that ask for it."""

import signal
import sys
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""The exit status of a program that SIGTERM has ended."""


def exit_on_sigterm() -> None:
    """Let SIGTERM end the program as `sys.exit` does: `finally` blocks run, and buffers and files are written and
    closed.

    Without it SIGTERM ends Python at once, and the last second of a `GradientMonitor` or a `Board` is lost. A handler
    that the program has set stays.

    Raises:
        ValueError: outside of the main thread, where Python allows no handler.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(TERMINATED)
