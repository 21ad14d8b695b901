"""Gradients that are sums over the micro-batches of a batch. The weight of each is its share of the samples that the
loss counts."""

from functools import lru_cache

import torch
from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.records.contributions import Accumulation, single_contribution
from nets.training.gradients.accumulator import Accumulator
from nets.training.gradients.engines import GRADIENT_ENGINES, GradientEngine
from nets.training.gradients.sample_norms import SampleNormEngine
from nets.training.gradients.source import BatchGradient, GradientFunction, GradientSpec
from nets.training.parameters import trained


class MicroBatches:
    """The gradient source of a single process: micro-batches of each batch, one after the other."""

    def prepare(self, spec: GradientSpec) -> GradientFunction:
        """See `accumulate`."""
        network, loss, size, accumulator = spec.network, spec.loss, spec.micro_batch_size, Accumulator()
        if not spec.sample_norms:
            engine = GRADIENT_ENGINES[spec.engine]()
            return lambda batch: BatchGradient(*accumulate(engine, network, loss, batch, size, accumulator))
        sampled, names = SampleNormEngine(spec.engine), tuple(trained(network))

        def with_samples(batch: Batch) -> BatchGradient:
            found = accumulate(sampled, network, loss, batch, size, accumulator)
            return BatchGradient(*found, sampled.take(names))

        return with_samples


def accumulate(
    engine: GradientEngine,
    network: Network,
    loss: Loss,
    batch: Batch,
    micro_batch_size: int | None,
    accumulator: Accumulator | None = None,
) -> tuple[Tensor, dict[str, Tensor], Accumulation]:
    """ℓ, a scalar tensor, and ∂ℓ/∂θ of a batch, from micro-batches of at most `micro_batch_size` samples.

    With C_m the samples of micro-batch m that count (those that the loss does not mask), a loss that is a mean is Σ_m
    w_m ℓ_m with w_m = C_m / Σ C_m. Dividing by the number of micro-batches instead is wrong as soon as the C_m differ.
    A loss that is a sum has w_m = 1.

    The next call with the same accumulator overwrites what this one returns.
    """
    samples = len(batch)
    if samples <= (micro_batch_size or samples):
        value, gradients = engine(network, loss, batch)
        return value, gradients, single_contribution(samples)
    accumulator = accumulator or Accumulator()
    micro_batches = accumulator.micro_batches(batch, micro_batch_size or samples)
    counts = tuple(loss.counted(micro.targets) for micro in micro_batches)
    parts, whole = shares(loss, counts)
    names, block, row = _names(len(micro_batches)), None, 0
    mean = torch.zeros(())
    for number, (micro, part) in enumerate(zip(micro_batches, parts, strict=True)):
        value, gradients = engine(network, loss, micro)
        if block is None:
            block, row = accumulator.start(names, gradients)
            mean = torch.zeros_like(value)  # in the precision of the parameters; X may be tokens
        accumulator.add(block.rows[row][number], value, gradients, part / whole, part)
        mean.add_(value, alpha=part / whole)
    assert block is not None
    total = accumulator.finish(block.residuals[row], whole)
    return mean, total, Accumulation(counts, tuple(part / whole for part in parts), block, row)


def shares(loss: Loss, counts: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Whole numbers N_m and N such that ℓ = Σ_m N_m/N ℓ_m, from the samples that count in each micro-batch."""
    if loss.reduction == "sum":
        # 3/3 and not 1/1, so that the second sum of the accumulator is rounded differently from the first.
        return (3,) * len(counts), 3
    return counts, max(1, sum(counts))


@lru_cache
def _names(count: int) -> tuple[str, ...]:
    return tuple(f"micro-batch {number}" for number in range(1, count + 1))
