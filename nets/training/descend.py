"""Gradient descent as a generator of records."""

import math
import sys
from collections.abc import Callable, Iterator
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch, Indices
from nets.errors import DivergenceError, InputError, quoted
from nets.records.step import Step
from nets.training.gradients.accumulation import Gradient, accumulated
from nets.training.gradients.engines import ENGINES, Engine, trained
from nets.training.gradients.sample_norms import Sampler
from nets.training.update import Queued, Update
from nets.validation import seeded

WORTH_WAKING = 2**22
"""Samples × parameters from which on a step is shared among threads. Below, to wake another takes longer than what it would do."""


def descend(
    network: Network,
    data: Batch,
    *,
    loss: Loss,
    learning_rate: float,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    micro_batch_size: int | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    engine: str = "closed_form",
    seed: int = 0,
    sample_norms: bool = False,
    gradient: Callable[[Engine, Network, Loss, int | None], Gradient] = accumulated,
) -> Iterator[Step]:
    """Train `network` in place, one update for each record asked for.

    With G = ∂ℓ/∂θ of a batch, per update: V ← μ V + G + λ θ (V = 0 before the first), θ ← θ − η V, as in `torch.optim.SGD`
    (Polyak, USSR Computational Mathematics 4 (1964)). After each record `parameter.grad` holds G.

    Args:
        network: what is trained; its initial parameters are where the descent starts. Those that require a gradient are moved, in
            the memory where they are now.
        data: X (N, J) and targets; every epoch visits all samples once, in an order drawn from `seed`.
        loss: ℓ(Y, T), a mean or a sum over samples.
        learning_rate: η.
        epochs: passes over the data after which to stop.
        steps: updates after which to stop; with both given, whichever comes first.
        batch_size: samples in an update, None for all of them (full batch); the last batch of an epoch may be smaller.
        micro_batch_size: a batch is taken in pieces of this many samples whose gradients are accumulated; None for one piece.
        momentum: μ.
        weight_decay: λ.
        engine: 'closed_form' (the layers' own derivatives) or 'autograd'.
        gradient: where G comes from: given the engine, network, loss and size of a micro-batch, a function of a batch.
        sample_norms: whether each record has the norm of every sample's own gradient, see `SampleNorms`.
        seed: of the order of the samples. The trajectory depends on the initial parameters, the data and this seed alone.

    Returns:
        An iterator of frozen `Step` records. Nothing is computed before the first is asked for, but the arguments are checked.

    Raises:
        InputError: for an argument out of range, or data that do not fit network and loss.
        DivergenceError: after the record of a step whose loss or gradient is not finite; that step's update is not made.
    """
    if not isinstance(network, Network):
        raise InputError(f"descend was given a {type(network).__name__}; expected a nets.Network, such as nets.mlp makes.")
    _at_least(1, epochs=epochs, steps=steps, batch_size=batch_size, micro_batch_size=micro_batch_size)
    if epochs is None and steps is None:
        raise InputError("descent was given neither epochs nor steps; expected at least one of them: say when to stop.")
    if not isinstance(loss, Loss):
        raise InputError(f"the loss is {quoted(loss)}; expected a Loss, such as nets.MeanSquaredError() or nets.CrossEntropy().")
    if not _is_number(learning_rate) or not learning_rate > 0:
        raise InputError(f"learning_rate is {quoted(learning_rate)}; expected a number above 0.")
    _in_range(momentum=(momentum, 1.0), weight_decay=(weight_decay, math.inf))
    if not isinstance(engine, str) or engine not in ENGINES:
        raise InputError(f"the engine is {quoted(engine)}; expected one of {', '.join(ENGINES)}.")
    if not isinstance(sample_norms, bool):
        raise InputError(f"sample_norms is {quoted(sample_norms)}; expected True or False.")
    if not callable(gradient):
        raise InputError(f"gradient is {quoted(gradient)}; expected a function of engine, network, loss and micro-batch size.")
    if not isinstance(data, Batch) or not isinstance(data.inputs, Tensor) or not isinstance(data.targets, Tensor):
        raise InputError(f"the data are {quoted(data)}; expected a nets.Batch of two tensors, inputs and targets.")
    order = seeded(seed)
    data = Batch(data.inputs.detach(), data.targets.detach())
    network.check(data.inputs)
    if data.targets.layout is not torch.strided or data.targets.device != data.inputs.device:
        raise InputError(
            f"the targets have the layout {data.targets.layout} and are on {data.targets.device}; expected a dense tensor on "
            f"{data.inputs.device}, as the inputs are: call targets.to_dense() or targets.to(…)."
        )
    with torch.no_grad():
        loss.check(network(data.inputs), data.targets)
    if not trained(network):
        raise InputError(
            "the network has no parameter that requires a gradient; expected at least one to descend along: add a Linear layer, or "
            "have a parameter require its gradient."
        )
    batches = _batches(data, epochs, steps, min(batch_size or len(data), len(data)), order)
    kind = Update if data.inputs.device.type == "cpu" else Queued
    update = kind(trained(network), learning_rate, momentum, weight_decay)
    sampler = Sampler(engine) if sample_norms else None
    gradient_of = gradient(sampler or ENGINES[engine](), network, loss, micro_batch_size)
    if not callable(gradient_of):
        raise InputError(f"gradient returned a {type(gradient_of).__name__}; expected a function of a batch.")
    return _descend(update, batches, gradient_of, sampler)


def count_steps(samples: int, epochs: int | None, steps: int | None, batch_size: int | None) -> int:
    """How many updates `descend` makes with these arguments, of which epochs or steps is given."""
    in_epochs = math.inf if epochs is None else epochs * math.ceil(samples / (batch_size or samples))
    return int(min(in_epochs, math.inf if steps is None else steps))


def _descend(
    update: Update, batches: Iterator[tuple[int, Batch]], gradient_of: Gradient, sampler: Sampler | None
) -> Iterator[Step]:
    size = sum(parameter.numel() for parameter in update.parameters)
    number = 0
    for number, (epoch, batch) in enumerate(batches, start=1):
        threads = torch.get_num_threads()
        if len(batch) * size < WORTH_WAKING:
            torch.set_num_threads(1)
        try:
            # What is not finite is seen in the record.
            with np.errstate(all="ignore"):
                value, found, accumulation = gradient_of(batch)
                since = update(value, found)
        finally:
            torch.set_num_threads(threads)
        samples = sampler.take(update.block.names) if sampler else None
        yield Step(number, epoch, accumulation, update.block, update.row, samples)
        if since is not None:
            raise _diverged(update, number, since)
    since = update.stopped()
    if since is not None:
        raise _diverged(update, number, since)


def _diverged(update: Update, number: int, since: int) -> DivergenceError:
    """What to say after so many updates of that which was the last."""
    loss, *_ = numbers = update.block.table([update.row - since])[0].tolist()
    total = numbers[1 + len(update.block.names)]
    return DivergenceError(
        f"step {number - since}: the loss is {loss:.3g} and the gradient norm {total:.3g}; expected finite numbers: lower the "
        f"learning rate ({update.learning_rate:g}), or look at which gradient grows first."
    )


def _batches(
    data: Batch, epochs: int | None, steps: int | None, size: int, generator: torch.Generator
) -> Iterator[tuple[int, Batch]]:
    """(epoch, batch), each epoch in a new order. Batches of one size are written to the same memory, one after the other."""
    made, epoch = 0, 0
    memory: dict[int, tuple[Batch, Callable[[Indices], None]]] = {}
    while epochs is None or epoch < epochs:
        epoch += 1
        order = data.order(generator)
        for start in range(0, len(data), size):
            if steps is not None and made == steps:
                return
            made += 1
            indices = order[start : start + size]
            known = memory.get(len(indices))
            if known is None:
                batch = data.take(indices)
                memory[len(batch)] = batch, batch.filled_from(data)
            else:
                batch, fill = known
                fill(indices)
            yield epoch, batch


def _at_least(least: int, **given: object) -> None:
    for name, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"{name} is {quoted(value)}; expected a whole number from {least} up, or null for no limit.")


def _in_range(**given: tuple[object, float]) -> None:
    for name, (value, below) in given.items():
        if not _is_number(value) or not 0 <= value < below:
            bound = "" if math.isinf(below) else f" and below {below:g}"
            raise InputError(f"{name} is {quoted(value)}; expected a number from 0 up{bound}.")


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number; a whole number may be larger than any of double precision."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
