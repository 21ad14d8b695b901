"""The batches of a descent, epoch after epoch, and the present position in them."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from nets.data.batch import Batch, Indices


class Batches:
    """An endless iterator. Each epoch takes all samples once, in an order drawn at its start.

    Batches of the same size share memory: each overwrites the previous one.

    Args:
        data: all samples.
        size: samples in a batch; the last batch of an epoch may be smaller.
        generator: draws the orders.

    Attributes:
        epoch: the epoch of the last batch, counted from 1; 0 before the first.
    """

    def __init__(self, data: Batch, size: int, generator: torch.Generator) -> None:
        self._data, self._size, self.generator, self.epoch = data, size, generator, 0
        self._order: Indices = np.empty(0, np.int64)
        self._draw, self._taken = data.orders(generator), 0
        self._memory: dict[int, tuple[Batch, Callable[[Indices], None]]] = {}

    def go_to(self, epoch: int, remaining: Tensor) -> None:
        """Go to the position in an epoch at which these samples remain, in order; shape (R,)."""
        here = self._data.inputs.device
        self._order = remaining.cpu().clone().numpy() if here.type == "cpu" else remaining.to(here)
        self.epoch, self._taken = epoch, 0

    @property
    def remaining(self) -> Tensor:
        """The samples of this epoch that remain, in order; on the CPU."""
        return torch.as_tensor(self._order[self._taken :]).cpu().clone()

    @property
    def epoch_is_over(self) -> bool:
        """Whether the next batch begins a new epoch."""
        return self._taken >= len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._taken >= len(self._order):
            self.epoch += 1
            self._order, self._taken = self._draw(), 0
        indices = self._order[self._taken : self._taken + self._size]
        self._taken += len(indices)
        known = self._memory.get(len(indices))
        if known is None:
            batch = self._data.take(indices)
            self._memory[len(batch)] = batch, batch.filled_from(self._data)
            return batch
        batch, fill = known
        fill(indices)
        return batch
