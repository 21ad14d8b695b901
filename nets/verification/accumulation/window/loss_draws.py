"""The random numbers that a loss draws: the whole batch draws those of its micro-batches, where it can."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nets.errors import InputError
from nets.verification.accumulation.state.random_draws import (
    CannotReplay,
    DeterministicLoss,
    Drawn,
    RecordDraws,
    ReplayDraws,
    drawing_from,
)  # fmt: skip
from nets.verification.accumulation.window.window import Window


class LossDraws:
    """The random numbers that the loss of a window draws. If there are any, the loss is replaced by a deterministic
    one.

    Attributes:
        any: whether the loss draws random numbers.
        replayed: whether the whole batch can draw what its micro-batches draw.
    """

    def __init__(self, window: Window) -> None:
        self._window, self._loss, self._recorded = window, window.loss, list[Drawn]()
        self.replayed, self.any = True, self._change_the_loss()
        if self.any:
            window.loss = DeterministicLoss(self._loss, window.seed, window.snapshot.generators)

    def record(self, loss_of_all: Callable[[], Tensor]) -> None:
        """Record what each micro-batch draws, and find out whether the whole batch can draw the same numbers."""
        window = self._window
        for output, (_, target) in zip(window.alone, window.pairs, strict=True):
            if output is not None:
                window.reset()
                with RecordDraws() as recorded:
                    window.loss_of(output, target)
                self._recorded.append(recorded.drawn)
        found = []
        for seed in (window.seed, window.seed + 1):
            window.reset()
            try:
                with drawing_from(seed, window.snapshot.generators):
                    found.append(float(loss_of_all().detach()))
            except CannotReplay:
                self.replayed = False
                return
        # Random numbers that no operation of PyTorch draws are neither recorded nor replayed.
        self.replayed = found[0] == found[1]

    @contextmanager
    def of_all(self) -> Iterator[None]:
        """A context in which a loss over all micro-batches draws what they drew."""
        if self.any and self.replayed and self._recorded:
            with self._window.loss_replaced(self._loss), ReplayDraws(self._recorded):
                yield
        else:
            with self.of_each():
                yield

    @contextmanager
    def of_each(self) -> Iterator[None]:
        """A context in which, where draws cannot be replayed, every call of the loss draws the same numbers."""
        if self.replayed:
            yield
        else:
            with self._window.loss_replaced(self._with_equal_draws):
                yield

    def _with_equal_draws(self, output: Any, target: Any) -> Any:
        with drawing_from(self._window.seed, self._window.snapshot.generators):
            return self._loss(output, target)

    def _change_the_loss(self) -> bool:
        """Whether other random numbers give another loss."""
        window, found = self._window, list[list[Tensor]]()
        generators = window.snapshot.generators
        try:
            for seed in (window.seed, window.seed + 1):
                with window.loss_replaced(DeterministicLoss(self._loss, seed, generators)):
                    pairs = zip(window.alone, window.pairs, strict=True)
                    cotangents = [window.cotangents(y, target) for y, (_, target) in pairs if y is not None]
                    found.append([leaf for leaves in cotangents for leaf in leaves])
        except InputError:  # raised again for the loss over all micro-batches
            return False
        return any(not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) for a, b in zip(*found, strict=True))
