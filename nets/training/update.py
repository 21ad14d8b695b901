"""The update of a descent, V ← μ V + G + λ θ, θ ← θ − η V, and the row of numbers that tells of it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from nets.calculus.norms import norm_tensors, norms_now, norms_of
from nets.errors import InputError
from nets.records.step import ROWS, Block
from nets.training.replay.cuda_graph import Captured

LOOKED = 16
"""Updates on a GPU after which it is waited for, to see whether all numbers were finite; a divisor of ROWS."""

SHAPES = 4
"""Sizes of batches whose updates are kept as graphs."""


class Update:
    """One update for each call, where numbers can be looked at as soon as they are there.

    Attributes:
        block: where the last update is told of.
        row: its row there.
    """

    def __init__(self, named: dict[str, nn.Parameter], learning_rate: float, momentum: float, weight_decay: float) -> None:
        self.learning_rate, self._momentum, self._weight_decay = learning_rate, momentum, weight_decay
        self._named, self.parameters = named, [parameter.data for parameter in named.values()]
        for name, parameter in named.items():
            if _shares(parameter):
                raise InputError(
                    f"the entries of {name} share their memory; expected one number for each that can be moved by itself: call "
                    "parameter.data = parameter.data.contiguous()."
                )
        self._plain = momentum == 0 and weight_decay == 0
        self._velocities = [] if self._plain else [torch.zeros_like(parameter) for parameter in self.parameters]
        self._first, self._dense = next(iter(named.values())), _dense(self.parameters)
        # A V without a past is not kept by those who take the step, and made here for its norm.
        self._rule: dict[str, Any] = {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay if momentum else 0.0}
        self._rule |= {"dampening": 0.0, "nesterov": False, "maximize": False}
        self._held: dict[str, Tensor] | None = None
        self._norms: Callable[[], list[float]] | None = None
        self._sizes, self._moved = norms_of(self.parameters), norms_of(self._velocities)
        self.block, self.row = self._new_block(), -1

    def __call__(self, loss: Tensor, found: dict[str, Tensor]) -> int | None:
        """Take a step along −G; not where ℓ or G is not finite, nor ever after.

        Returns:
            How many updates ago that was, 0 for this one; None as long as nobody has seen it.

        Raises:
            InputError: if the parameters are no longer where they were.
        """
        if self._first.data_ptr() != self.parameters[0].data_ptr():
            raise InputError(
                "the network's parameters have been given other memory since descend was called; expected them to stay: write "
                "parameter.data.copy_(…) in the place of parameter.data = …, or call descend anew."
            )
        if found is not self._held:
            self._hold(found)
        elif self._norms is None:
            self._norms = norms_of(self._gradients + self.parameters)
        if self._first.grad is None:
            self._hand_over()
        self._next_row()
        norms = self._norms() if self._norms is not None else norms_now(self._gradients) + self._sizes()
        numbers = [loss.item(), *norms]
        finite = math.isfinite(sum(numbers[: self.block.decisive]))
        if finite:
            self._step(None)
        if not self._plain:
            numbers += self._moved()
        self.block.write(self.row, numbers)
        return None if finite else 0

    def stopped(self) -> int | None:
        """The same, of the updates up to now, where something has still to be looked at."""
        return None

    def _step(self, unless: Tensor | None) -> None:
        """The update itself, unless a number, where there is one, is 1."""
        along, kept = self._gradients, self._velocities if self._momentum else []
        if not self._laid_out:
            along = [gradient.contiguous() for gradient in along]
        if self._weight_decay and not self._momentum:
            torch._foreach_copy_(self._velocities, along)
            torch._foreach_add_(self._velocities, self.parameters, alpha=self._weight_decay)
            along = self._velocities
        if self._dense:
            torch._fused_sgd_(self.parameters, along, kept, **self._rule, is_first_step=False, found_inf=unless)
        else:
            # The fused kernel goes through memory, whatever entry has its place there.
            buffers: list[Tensor | None] = [*kept] or [None] * len(along)
            sgd(self.parameters, along, buffers, **self._rule, foreach=True)

    def _hold(self, found: dict[str, Tensor]) -> None:
        """Gradients in other memory than the last ones, which may stay there from now on."""
        self._held, self._gradients, self._norms = found, list(found.values()), None
        self._laid_out = _dense(self._gradients)
        self._hand_over()

    def _hand_over(self) -> None:
        """The gradients to their parameters, where the caller looks for them and may have cleared them."""
        for parameter, gradient in zip(self._named.values(), self._gradients, strict=True):
            parameter.grad = gradient

    def _next_row(self) -> None:
        self.row += 1
        if self.row == ROWS:
            self.block, self.row = self._new_block(), 0

    def _new_block(self) -> Block:
        return Block(tuple(self._named), self.learning_rate, self._plain, self.parameters[0])


class Queued(Update):
    """The same on a GPU, which is told what to do and not waited for: whether numbers are finite it decides itself.

    The operations are queued one by one for gradients that come in new memory, and from the second time on as one CUDA graph for
    those that come again where they were. After numbers that are not finite no further update is made, and all LOOKED of them it is
    seen.

    Args:
        capture: what makes a graph of a function.
    """

    def __init__(
        self,
        named: dict[str, nn.Parameter],
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        capture: Callable[[Callable[[], None]], Captured] = Captured,
    ) -> None:
        super().__init__(named, learning_rate, momentum, weight_decay)
        if not self._dense:
            raise InputError(
                "the parameters are not laid out row by row in one precision; expected that on a GPU: give each its own contiguous "
                "memory, as parameter.data = parameter.data.contiguous() does."
            )
        self._capture = capture
        self._graphs: dict[int, tuple[Tensor, dict[str, Tensor], Captured | None]] = {}
        self._stopped = torch.zeros((), device=self.parameters[0].device)
        self._now = torch.empty_like(self.block.values[0])

    def __call__(self, loss: Tensor, found: dict[str, Tensor]) -> int | None:
        """Queue a step along −G. What it returns is known for each LOOKED-th update only."""
        if found is not self._held:
            self._hold(found)
        if self._first.grad is None:
            self._hand_over()
        known = self._graphs.pop(id(found), None)
        if known is None or known[0] is not loss:
            self._queue(loss)
            graph = None
        else:
            graph = known[2] or self._capture(lambda: self._queue(loss))
            graph.replay()
        # As many as there are sizes of batches; an engine that gives new memory each time fills it with what never comes again.
        self._graphs[id(found)] = loss, found, graph
        if len(self._graphs) > SHAPES:
            del self._graphs[next(iter(self._graphs))]
        self._next_row()
        self.block.values[self.row].copy_(self._now)
        return self.stopped() if (self.row + 1) % LOOKED == 0 else None

    def stopped(self) -> int | None:
        """Wait for the updates up to now, and say how many ago ℓ or G was not finite."""
        if not bool(self._stopped):
            return None
        bad = ~self.block.values[: self.row + 1, : self.block.decisive].isfinite().all(1)
        return self.row - int(bad.nonzero()[0])

    def _queue(self, loss: Tensor) -> None:
        """The operations of an update, which tell of it in memory of their own."""
        count = self.block.known
        seen, moved = self._now[:count], self._now[count:]
        torch.stack([loss, *norm_tensors(self._gradients + self.parameters, seen.dtype)], out=seen)
        self._stopped.masked_fill_(seen[: self.block.decisive].isfinite().all().logical_not(), 1)
        self._step(self._stopped)
        if not self._plain:
            torch.stack(norm_tensors(self._velocities, moved.dtype), out=moved)


def _dense(tensors: Sequence[Tensor]) -> bool:
    """Whether all are laid out alike, row by row without gaps, and of one precision."""
    return all(tensor.is_contiguous() and tensor.dtype == tensors[0].dtype for tensor in tensors)


def _shares(tensor: Tensor) -> bool:
    """Whether one number in memory is several entries, as after `expand`."""
    return any(count > 1 and stride == 0 for count, stride in zip(tensor.shape, tensor.stride(), strict=True))
