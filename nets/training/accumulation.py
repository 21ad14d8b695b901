"""Gradients that are sums: one batch taken as micro-batches, each weighted by its share of the samples."""

from dataclasses import dataclass

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
) -> tuple[float, dict[str, Tensor], Accumulation]:
    """ℓ and ∂ℓ/∂θ of the whole batch from micro-batches of at most `micro_batch_size` samples, the last one possibly shorter.

    The loss is a mean over samples, so the sum of w_m G_m is the gradient of the batch whatever the sizes; dividing by the number
    of micro-batches instead is wrong as soon as they differ.
    """
    samples = len(batch)
    size = micro_batch_size or samples
    micro_batches = [batch.take(slice(start, start + size)) for start in range(0, samples, size)]
    weights = tuple(len(micro) / samples for micro in micro_batches)
    losses, total = [], dict[str, Tensor]()
    for micro, weight in zip(micro_batches, weights, strict=True):
        value, gradients = engine(network, loss, micro)
        losses.append(float(value))
        for name, gradient in gradients.items():
            total[name] = total[name].add_(gradient, alpha=weight) if name in total else gradient * weight
    mean = sum(w * ell for w, ell in zip(weights, losses, strict=True))
    return mean, total, Accumulation(tuple(map(len, micro_batches)), weights, tuple(losses))
