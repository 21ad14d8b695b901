"""An update on a GPU. The CPU queues it and does not wait for it."""

from collections.abc import Callable

import torch
from torch import Tensor

from nets.calculus.norms import norm_tensors
from nets.records.step import ROWS
from nets.training.optimizers.update_rule import RuleState, UpdateRule
from nets.training.parameters import TrainedParameters
from nets.training.replay.cuda_graph import CudaGraph
from nets.training.update import Update

SYNC_EVERY = 16
"""The CPU waits for the GPU after so many updates, to read whether all numbers were finite. ROWS is a multiple of
it."""

assert ROWS % SYNC_EVERY == 0

MOST_GRAPHS = 4
"""The most batch sizes whose updates are kept as CUDA graphs."""


class AsyncUpdate(Update):
    """The same update on a GPU. The GPU itself decides whether the numbers are finite.

    Operations are queued one by one for gradients in new memory. When gradients are in the same memory a second time,
    they and their update are captured as one CUDA graph, which is launched from then on. Once a number is not finite,
    the GPU makes no further update; the CPU reads this at the next multiple of SYNC_EVERY.

    Args:
        parameters: are moved in place.
        rule: gives Δθ.
        state: the state of the rule, updated in place.
        made: the number of updates made before.
        capture: makes a graph of a function.
    """

    def __init__(
        self,
        parameters: TrainedParameters,
        rule: UpdateRule,
        state: RuleState,
        made: int = 0,
        capture: Callable[[Callable[[], None]], CudaGraph] = CudaGraph,
    ) -> None:
        super().__init__(parameters, rule, state, made)
        self._capture = capture
        self._graphs: dict[int, tuple[Tensor, dict[str, Tensor], CudaGraph | None]] = {}
        self._stopped = torch.zeros((), device=parameters.tensors[0].device)
        self._now = torch.empty_like(self.block.values[0])
        self._scale = 1.0

    def __call__(self, loss: Tensor, gradients: dict[str, Tensor]) -> int | None:
        """Queue an update. What it returns is known for each SYNC_EVERY-th update only."""
        if gradients is not self._held:
            self._hold(gradients)
        if self.parameters.first.grad is None:
            self.parameters.set_gradients(self._gradients)
        if self._scheduled:
            self._begin()
        known = self._graphs.pop(id(gradients), None)
        if known is None or known[0] is not loss:
            self._queue(loss)
            graph = None
        else:
            graph = known[2] or self._capture(lambda: self._queue(loss))
            graph.replay()
        # Bounded: engines that allocate new gradients would otherwise grow it for ever.
        self._graphs[id(gradients)] = loss, gradients, graph
        if len(self._graphs) > MOST_GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        self._next_row()
        self.block.values[self.row].copy_(self._now)
        self.block.scales[self.row], self.block.rates[self.row] = abs(self._scale), self._rate
        return self.last_check() if (self.row + 1) % SYNC_EVERY == 0 else None

    def last_check(self) -> int | None:
        """Wait for the queued updates, and return how many updates ago ℓ or G was not finite."""
        if not bool(self._stopped):
            return None
        bad = ~self.block.values[: self.row + 1, : self.block.decisive].isfinite().all(1)
        return self.row - int(bad.nonzero()[0])

    def _queue(self, loss: Tensor) -> None:
        """Queue the operations of one update, which write its record to `_now`."""
        count, decisive, extra = self.block.known, self.block.decisive, self.block.width - len(self._observed)
        seen, moved, observed = self._now[:count], self._now[count:extra], self._now[extra:]
        torch.stack([loss, *norm_tensors(self._gradients + self.parameters.tensors, seen.dtype)], out=seen)
        self._stopped.masked_fill_(seen[:decisive].isfinite().all().logical_not(), 1)
        directions, self._scale = self._move(self._stopped)
        if directions is self._gradients:
            moved.copy_(seen[1:decisive])
        else:
            torch.stack(norm_tensors(directions, moved.dtype), out=moved)
        if self._observed:
            torch.stack(self._observed, out=observed)
