"""The progress of a run and its summary, in a terminal or in a file."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from nets.records.step import Step

if TYPE_CHECKING:
    from rich.console import Console

REFRESHES_PER_SECOND = 10
MOST_PLAIN_LINES = 20


def progress(steps: Iterable[Step], total: int, console: "Console | None" = None) -> Iterator[Step]:
    """Pass `steps` through, and show the progress on `console`.

    A terminal shows a bar with the loss ℓ and the total gradient norm ‖g‖, redrawn at most ten times a second. Anything
    else (a file, a pipe, a notebook, TERM=dumb) gets ten to twenty plain lines: steps at round numbers, the first and
    the last. Between them a step costs one call of the clock or one division.

    Args:
        steps: the records, such as `descend` yields.
        total: the number of steps expected; a wrong number changes the bar and nothing else.
        console: where it is shown; the standard output if None.
    """
    console = console or _standard_output()
    return _bar(steps, total, console) if console.is_interactive else _lines(steps, total, console)


def summary(console: "Console", rows: Mapping[str, str]) -> None:
    """Print `{name: text}` in two aligned columns: texts as `say` prints them, names bold on a terminal."""
    from rich.text import Text

    width = max((len(name) for name in rows), default=0)
    for name, text in rows.items():
        for number, line in enumerate(text.splitlines() or [""]):
            label = (name if number == 0 else "").ljust(width + 2)
            row = Text.assemble((_printable(label, console), "bold"), _printable(line, console))
            console.print(row, soft_wrap=True)


def say(console: "Console", text: str) -> None:
    """Print `text` as it is: no markup, no colour, nothing wrapped or cropped, whatever the width.

    A path or a command can be copied, and the lines of a table stay whole.
    """
    console.print(_printable(text, console), markup=False, highlight=False, emoji=False, soft_wrap=True)


def _standard_output() -> "Console":
    from rich.console import Console

    return Console()


def _bar(steps: Iterable[Step], total: int, console: "Console") -> Iterator[Step]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    norm = _printable("‖g‖", console, instead="|g|")
    # Redrawn from here: rich's own refreshing is a second thread, which takes time from every step.
    bar = Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        auto_refresh=False,
        expand=True,
    )
    with bar:
        task = bar.add_task("", total=total, state="")
        due, latest = 0.0, None
        try:
            for latest in steps:
                now = time.monotonic()
                if now >= due:
                    due = now + 1 / REFRESHES_PER_SECOND
                    bar.update(task, completed=latest.step, state=_state(latest, norm), refresh=True)
                yield latest
        finally:
            if latest is not None:
                bar.update(task, completed=latest.step, state=_state(latest, norm), refresh=True)


def _lines(steps: Iterable[Step], total: int, console: "Console") -> Iterator[Step]:
    norm = _printable("‖g‖", console, instead="|g|")
    every = _round_number(total / MOST_PLAIN_LINES)
    width = len(str(total))

    def show(step: Step) -> None:
        say(console, f"step {step.step:>{width}}/{total}  epoch {step.epoch:<3} {_state(step, norm)}".rstrip())

    latest, shown = None, None
    for latest in steps:
        # The line of the first step shows at once that the run works.
        if shown is None or latest.step % every == 0:
            show(latest)
            shown = latest
        yield latest
    if latest is not shown and latest is not None:
        show(latest)


def _round_number(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is not below `least`."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power >= least:
                return digit * power
        power *= 10


def _state(step: Step, norm: str) -> str:
    return f"loss {step.loss:<10.4g}  {norm} {step.total_gradient_norm:<10.4g}"


def _printable(text: str, console: "Console", instead: str | None = None) -> str:
    """`text` if the console's encoding has its letters; otherwise `instead`, or question marks for the missing letters.

    Without it, redirected output on a machine without UTF-8 would end the run with a UnicodeEncodeError.
    """
    try:
        text.encode(console.encoding)
    except UnicodeEncodeError:
        return instead if instead is not None else text.encode(console.encoding, "replace").decode(console.encoding)
    return text
