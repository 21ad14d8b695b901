"""Text as sequences of characters."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nets.data.batch import Batch, DataSet
from nets.data.data_sets import known_as
from nets.errors import InputError, quoted
from nets.validation import number, seeded, whole

IGNORED = -100
"""The target of a character that does not count, as in PyTorch."""

CONTINUED = 300
"""Characters of a text that a network continues."""


@dataclass(frozen=True, slots=True)
class Text(DataSet):
    """Windows of a text, whose targets are the same windows one character later."""

    @torch.no_grad()
    def continued(self, network: Callable[[Tensor], Tensor], generator: torch.Generator) -> str:
        """The first half of the first window held out, and CONTINUED characters more.

        Each is drawn with the probability P_k = e^Y_k / Σ_m e^Y_m that the network gives it after at most T characters,
        the length of a window.

        Args:
            network: X (1, t) → Y (1, t, K), t ≤ T.
            generator: of the draws, on the CPU.
        """
        window = self.test.inputs.shape[1]
        tokens = self.test.inputs[:1, : (window + 1) // 2]
        for _ in range(CONTINUED):
            p = torch.softmax(network(tokens[:, -window:])[0, -1].double().cpu(), -1)
            drawn = torch.multinomial(p, 1, generator=generator)
            tokens = torch.cat([tokens, drawn[None].to(tokens)], 1)
        return "".join(self.labels[token] for token in tokens[0].tolist())


@known_as("characters")
def characters(
    *,
    path: str | None = None,
    context: int = 64,
    stride: int = 8,
    shortest: int | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Text:
    """Every character and the one after it: x_nt is the t-th character of window n, and its target is x_n,t+1.

    The text is Python's own help, `pydoc_data.topics`, which every CPython has; or a file in UTF-8. Its last part is
    held out, in windows that do not overlap. Characters are numbered in sorted order.

    Args:
        path: a file of text; None for Python's help.
        context: T, the characters in a window.
        stride: characters from the beginning of one training window to the beginning of the next.
        shortest: ragged windows for training: each ends after a number of characters that is drawn from `shortest` to
            T, with the character 0 and the target −100 behind, for a masked loss. None for windows of T characters.
        test_fraction: share of the text that is held out.
        seed: decides where ragged windows end.

    Returns:
        Inputs and targets (N, T), int64. `labels` are the characters, and `classes` is their number.

    Raises:
        InputError: for a number out of range, a file that cannot be read, or a text that is too short for a window of
            each part.
    """
    context, stride = whole("context", context, 1), whole("stride", stride, 1)
    fraction = number("test_fraction", test_fraction, above=0, below=1, remedy="write 0.1, for example")
    text = _help() if path is None else _file(path)
    held_out = round(fraction * len(text))
    if min(held_out, len(text) - held_out) <= context:
        raise InputError(
            f"the text has {len(text):,} characters, of which {held_out:,} are held out; expected more than {context} "
            "in each part: give a longer text, or make context smaller."
        )
    letters = sorted(set(text))
    index = {letter: number for number, letter in enumerate(letters)}
    numbers = torch.tensor([index[letter] for letter in text])
    train, test = numbers.split([len(numbers) - held_out, held_out])
    learnt, held = _windows(train, context, stride), _windows(test, context, context)
    if shortest is not None:
        learnt = _ragged(learnt, whole("shortest", shortest, 1, context, "the windows are no longer"), seeded(seed))
    return Text("characters", learnt, held, len(letters), labels=tuple(letters), counted="characters")


def _windows(numbers: Tensor, context: int, stride: int) -> Batch:
    """The windows of T characters that begin every `stride`, and the same one character later."""
    windows = numbers.unfold(0, context + 1, stride)
    return Batch(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())


def _ragged(windows: Batch, shortest: int, generator: torch.Generator) -> Batch:
    """Windows that end after `shortest` to T characters."""
    samples, longest = windows.inputs.shape
    lengths = torch.randint(shortest, longest + 1, (samples, 1), generator=generator)
    behind = torch.arange(longest) >= lengths
    return Batch(windows.inputs.masked_fill(behind, 0), windows.targets.masked_fill(behind, IGNORED))


def _help() -> str:
    """The texts of `help('TOPIC')`, one after the other."""
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def _file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the text {quoted(path)} is not UTF-8 at byte {error.start}; expected UTF-8: convert the file."
        ) from None
