"""Gradients that are sums: one batch taken as micro-batches, each weighted by its share of the samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.training.engines import Engine


@dataclass(frozen=True, slots=True)
class Accumulation:
    """How the gradient of one step was summed: G = Σ_m w_m G_m, with w_m = N_m / Σ N_m.

    Attributes:
        sizes: N_m, the number of samples in each micro-batch.
        weights: w_m; they sum to one.
        losses: ℓ_m, the mean loss of each micro-batch.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    losses: tuple[float, ...]


def accumulate(
    engine: Engine, network: Network, loss: Loss, batch: Batch, micro_batch_size: int | None
) -> tuple[Tensor, dict[str, Tensor], Accumulation]:
    """ℓ, a scalar tensor, and ∂ℓ/∂θ of the whole batch from micro-batches of at most `micro_batch_size` samples, the last one
    possibly shorter.

    The loss is a mean over samples, so the sum of w_m G_m is the gradient of the batch whatever the sizes; dividing by the number
    of micro-batches instead is wrong as soon as they differ.
    """
    samples = batch.inputs.shape[0]
    size = micro_batch_size or samples
    if samples <= size:
        value, gradients = engine(network, loss, batch)
        return value, gradients, Accumulation((samples,), (1.0,), (float(value),))
    micro_batches = [batch.take(slice(start, start + size)) for start in range(0, samples, size)]
    weights = tuple(len(micro) / samples for micro in micro_batches)
    losses, names, total = list[float](), list[str](), list[Tensor]()
    mean = torch.zeros((), dtype=batch.inputs.dtype, device=batch.inputs.device)
    for micro, weight in zip(micro_batches, weights, strict=True):
        value, gradients = engine(network, loss, micro)
        losses.append(float(value))
        mean.add_(value, alpha=weight)
        names, found = list(gradients), list(gradients.values())
        if total:
            torch._foreach_add_(total, found, alpha=weight)
        else:
            total = list(torch._foreach_mul(found, weight))
    return mean, dict(zip(names, total, strict=True)), Accumulation(tuple(map(len, micro_batches)), weights, tuple(losses))
