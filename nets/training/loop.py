"""The loop of a descent: batch → gradient → update → record."""

import contextvars
import math
from collections.abc import Generator, Iterator

import numpy as np
import torch

from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.errors import DivergenceError
from nets.records.step import Step
from nets.training.batches import Batches
from nets.training.gradients.source import BatchGradient, GradientFunction
from nets.training.state import TrainState, generators_of, state_of
from nets.training.unchanged import MovedParameters
from nets.training.update import Update

MULTITHREAD_FROM = 2**22
"""A step uses several threads if samples × parameters is at least this. Below, waking a thread takes longer than its
work."""


class Descent(Iterator[Step]):
    """An iterator of records: each `next` makes one update. `nets.descend` returns it.

    Args:
        network: is trained.
        batches: of all epochs.
        gradient_of: the gradient of a batch.
        update: moves the parameters.
        made: the updates that were made before.
        steps: updates after which to stop, those before included; None for no limit.
        epochs: epochs after which to stop, those before included; None for no limit.
        sizes: of data, batches and micro-batches, for the state.
    """

    def __init__(
        self,
        network: Network,
        batches: Batches,
        gradient_of: GradientFunction,
        update: Update,
        made: int,
        steps: int | None,
        epochs: int | None,
        sizes: dict[str, int],
    ) -> None:
        self._network, self._batches, self._gradient_of, self._update = network, batches, gradient_of, update
        self._parameters = MovedParameters(network)
        self._made, self._most_steps, self._most_epochs, self._sizes = made, steps, epochs, sizes
        self._records = self._run()

    def __next__(self) -> Step:
        return next(self._records)

    def close(self) -> None:
        """End the descent. `next` then raises StopIteration."""
        self._records.close()

    @property
    def state(self) -> TrainState:
        """A copy of everything that is needed to resume the descent here, see `TrainState`."""
        update, rule = self._update, self._update.rule
        generators = generators_of(self._network, self._batches.generator)
        return TrainState(
            parameters={name: tensor.detach().clone() for name, tensor in state_of(self._network).items()},
            rule={name: [tensor.clone() for tensor in tensors] for name, tensors in rule.kept(update.state).items()},
            generators={name: generator.get_state() for name, generator in generators.items()},
            step=self._made,
            epoch=self._batches.epoch,
            remaining=self._batches.remaining,
            sizes=dict(self._sizes),
        )

    def _run(self) -> Generator[Step, None, None]:
        update, batches, size = self._update, self._batches, self._update.parameters.size
        last_step = math.inf if self._most_steps is None else self._most_steps
        # No warnings of NumPy: the record shows numbers that are not finite. NumPy keeps its error state in a context
        # variable. Running a step in a context of its own takes a tenth of the time of np.errstate.
        quiet = contextvars.copy_context()
        quiet.run(np.seterr, all="ignore")
        # The first comparison of epochs is true in the last epoch only.
        while self._made < last_step and not (batches.epoch == self._most_epochs and batches.epoch_is_over):
            if not self._parameters.same(self._network):
                self._parameters.refuse_changes()
                self._parameters = MovedParameters(self._network)
            batch = next(batches)
            threads = torch.get_num_threads()
            single = threads > 1 and len(batch) * size < MULTITHREAD_FROM
            if single:
                torch.set_num_threads(1)
            try:
                found, since = quiet.run(self._make, batch)
            finally:
                if single:
                    torch.set_num_threads(threads)
            self._made += 1
            yield Step(self._made, batches.epoch, found.accumulation, update.block, update.row, found.sample_norms)
            if since is not None:
                raise self._diverged(since)
        since = update.last_check()
        if since is not None:
            raise self._diverged(since)

    def _make(self, batch: Batch) -> tuple[BatchGradient, int | None]:
        """The gradient of a batch, and what the update returns."""
        found = self._gradient_of(batch)
        return found, self._update(found.loss, found.gradients)

    def _diverged(self, since: int) -> DivergenceError:
        """The error for the first update that was not made; `since` is the number of updates after it."""
        numbers = self._update.block.numbers([self._update.row - since])
        step, self._made = self._made - since, self._made - since - 1
        return DivergenceError(
            f"step {step}: the loss is {numbers.loss[0]:.3g} and the gradient norm "
            f"{numbers.total_gradient_norm[0]:.3g}; expected finite numbers: lower the learning rate "
            f"({self._update.rule.rate_at(step - 1):g}), or look at which gradient grows first."
        )
