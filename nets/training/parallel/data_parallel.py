"""The gradient of a batch whose micro-batches are divided among the processes of a run."""

import contextlib
import math
from functools import lru_cache

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from nets.calculus.function import ClosedForm
from nets.data.batch import Batch
from nets.errors import InputError
from nets.records.contributions import Accumulation
from nets.training.gradients.accumulation import shares
from nets.training.gradients.accumulator import Accumulator
from nets.training.gradients.source import BatchGradient, GradientSpec
from nets.training.parameters import trained


class DataParallel:
    """∂ℓ/∂θ of a batch: micro-batch m belongs to rank m mod R.

    `DistributedDataParallel` averages `.grad` over the R ranks, once for each batch; until its last micro-batch a rank
    adds up its own gradients (`no_sync`). A micro-batch of N_m samples enters as R N_m/N ∂ℓ_m/∂θ, so that the average
    is Σ_m N_m/N ∂ℓ_m/∂θ for any division of the samples. A plain average is right only if all ranks have the same
    number of samples.

    Rank 0 records a contribution for each rank: G_r, the gradient of the mean over its samples. It receives `.grad` of
    each rank before the average, so the residual shows whether the average is their right sum.

    Args:
        rank: the number of this process.
        count: R.
        spec: what is differentiated.

    Raises:
        InputError: for sample norms, or a network on a GPU.
    """

    def __init__(self, rank: int, count: int, spec: GradientSpec) -> None:
        self._rank, self._count = rank, count
        self._network, self._loss, self._size = spec.network, spec.loss, spec.micro_batch_size
        if spec.sample_norms:
            raise InputError(
                "sample_norms=True was given to several processes; expected one: leave torchrun or sample_norms away."
            )
        if any(parameter.device.type != "cpu" for parameter in spec.network.parameters()):
            raise InputError(
                "a GPU was given to several processes, which share their gradients on CPUs; expected device=cpu."
            )
        module = spec.network if spec.engine == "autograd" else ClosedForm(spec.network)
        self._parallel = DistributedDataParallel(module)
        self._parallel.register_comm_hook(None, self._keep_and_average)
        self._own: dict[Tensor, Tensor] = {}
        self._accumulator = Accumulator()

    def __call__(self, batch: Batch) -> BatchGradient:
        micro_batches = self._accumulator.micro_batches(batch, self._size or math.ceil(len(batch) / self._count))
        counts = [self._loss.counted(micro.targets) for micro in micro_batches]
        parts, whole = shares(self._loss, tuple(counts))
        weights = [part / whole for part in parts]
        # Every rank takes part in the average, even one without samples.
        mine = list(zip(micro_batches, weights, strict=True))[self._rank :: self._count] or [(micro_batches[0], 0.0)]
        self._network.zero_grad()
        value = torch.zeros((), dtype=next(self._network.parameters()).dtype)
        for number, (micro, weight) in enumerate(mine, start=1):
            with contextlib.nullcontext() if number == len(mine) else self._parallel.no_sync():
                part = weight * self._loss(self._parallel(micro.inputs), micro.targets)
                (self._count * part).backward()
            value += part.detach()
        gradients = {name: p.grad for name, p in self._network.named_parameters() if p.grad is not None}
        mean = value.clone()
        dist.all_reduce(mean)
        own = tuple(sum(counts[r :: self._count]) for r in range(self._count))
        return BatchGradient(mean, gradients, self._recorded(value, gradients, own))

    def _recorded(self, value: Tensor, gradients: dict[str, Tensor], counts: tuple[int, ...]) -> Accumulation:
        """The record of the batch; its numbers are on rank 0 only."""
        parts, whole = shares(self._loss, counts)
        weights = tuple(part / whole for part in parts)
        sent = torch.cat([value[None], *(self._own[p].reshape(-1) for p in trained(self._network).values())])
        received = [torch.empty_like(sent) for _ in counts] if self._rank == 0 else None
        dist.gather(sent, received)
        if received is None:
            return Accumulation(counts, weights)
        block, row = self._accumulator.start(_names(len(counts)), gradients)
        for number, (numbers, part, weight) in enumerate(zip(received, parts, weights, strict=True)):
            # The loss was sent with its weight, and the gradient with R times its weight.
            loss, flat = numbers[0] / (weight or 1), numbers[1:] / (len(counts) * weight or 1)
            pieces = flat.split([gradient.numel() for gradient in gradients.values()])
            named = {name: piece.view_as(g) for (name, g), piece in zip(gradients.items(), pieces, strict=True)}
            self._accumulator.add(block.rows[row][number], loss, named, weight, part)
        self._accumulator.replace(gradients)
        self._accumulator.finish(block.residuals[row], whole)
        return Accumulation(counts, weights, block, row)

    def _keep_and_average(
        self,
        state: object,
        bucket: dist.GradBucket,  # type: ignore[name-defined]
    ) -> torch.futures.Future[Tensor]:
        """The average over the ranks, after a copy of what this rank contributes."""
        for parameter, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
            self._own[parameter] = gradient.clone()
        group = dist.group.WORLD
        assert group is not None
        return allreduce_hook(group, bucket)


@lru_cache
def _names(count: int) -> tuple[str, ...]:
    return tuple(f"rank {rank}" for rank in range(count))
