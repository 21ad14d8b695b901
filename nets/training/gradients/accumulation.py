"""Gradients that are sums: one batch taken as micro-batches, each weighted by its share of what the loss is a mean of."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.records.contributions import Accumulation as Accumulation
from nets.records.contributions import alone
from nets.training.gradients.engines import Engine
from nets.training.gradients.ledger import Ledger

Gradient = Callable[[Batch], tuple[Tensor, dict[str, Tensor], Accumulation]]
"""ℓ of a batch, a scalar tensor, ∂ℓ/∂θ by the name of each parameter, and the record of how it was summed."""


def accumulated(engine: Engine, network: Network, loss: Loss, micro_batch_size: int | None) -> Gradient:
    """The gradient of a batch from micro-batches of so many samples, see `accumulate`."""
    ledger = Ledger()
    return lambda batch: accumulate(engine, network, loss, batch, micro_batch_size, ledger)


def accumulate(
    engine: Engine, network: Network, loss: Loss, batch: Batch, micro_batch_size: int | None, ledger: Ledger | None = None
) -> tuple[Tensor, dict[str, Tensor], Accumulation]:
    """ℓ, a scalar tensor, and ∂ℓ/∂θ of the whole batch from micro-batches of at most `micro_batch_size` samples, the last one
    possibly shorter.

    With C_m the samples of micro-batch m that count (those that the loss does not mask), a loss that is a mean is Σ_m w_m ℓ_m with
    w_m = C_m / Σ C_m, whatever the sizes; dividing by the number of micro-batches instead is wrong as soon as they differ. One that
    is a sum has w_m = 1.

    What is returned is written anew by the next call with the same ledger.
    """
    samples = batch.inputs.shape[0]
    if samples <= (micro_batch_size or samples):
        value, gradients = engine(network, loss, batch)
        return value, gradients, alone(samples)
    ledger = ledger or Ledger()
    micro_batches = pieces(batch, micro_batch_size)
    counts = tuple(loss.counted(micro.targets) for micro in micro_batches)
    parts, whole = shares(loss, counts)
    names, page, row = _names(len(micro_batches)), None, 0
    mean = torch.zeros((), dtype=batch.inputs.dtype, device=batch.inputs.device)
    for number, (micro, part) in enumerate(zip(micro_batches, parts, strict=True)):
        value, gradients = engine(network, loss, micro)
        if page is None:
            page, row = ledger.open(names, gradients)
        ledger.add(page.rows[row][number], value, gradients, part / whole, part)
        mean.add_(value, alpha=part / whole)
    assert page is not None
    total = ledger.close(page.residuals[row], whole)
    return mean, total, Accumulation(counts, tuple(part / whole for part in parts), page, row)


def pieces(batch: Batch, size: int | None) -> list[Batch]:
    """The batch in micro-batches of so many samples, the last one possibly shorter; None for one piece."""
    size = size or len(batch)
    return [batch.take(slice(start, start + size)) for start in range(0, len(batch), size)]


def shares(loss: Loss, counts: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Whole numbers N_m and N such that ℓ = Σ_m N_m/N ℓ_m, from how many samples count in each micro-batch."""
    if loss.reduction == "sum":
        # Not 1 and 1, or the ledger's second sum would be made, and rounded, as the first.
        return (3,) * len(counts), 3
    return counts, max(1, sum(counts))


@lru_cache
def _names(count: int) -> tuple[str, ...]:
    return tuple(f"micro-batch {number}" for number in range(1, count + 1))
