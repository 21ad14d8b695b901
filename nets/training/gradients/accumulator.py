"""Sums of gradients, window by window."""

import torch
from torch import Tensor

from nets import torch_internals
from nets.calculus.norms import norm_tensors
from nets.data.batch import Batch
from nets.records.contributions import WINDOWS, ContributionBlock


class Accumulator:
    """Sums the gradients G_m of a window, and records the norm of each of them. All windows share the same memory.

    S = Σ_m w_m G_m, with w_m = N_m/N, is the gradient. The same sum is computed a second time as S′/N, with
    S′ = Σ_m N_m G_m, which is rounded otherwise. So ‖S − S′/N‖ shows the size of the rounding error of S.

    Attributes:
        total: S, the sum, by the name of each parameter.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, ...], ContributionBlock] = {}
        self.total: dict[str, Tensor] = {}
        self._sums: list[Tensor] = []
        self._second: list[Tensor] = []
        self._cut: tuple[Batch, int, list[Batch]] | None = None

    def micro_batches(self, batch: Batch, size: int) -> list[Batch]:
        """The batch in micro-batches. They are kept for the next call: a descent fills the same memory with the samples
        of its next batch."""
        if self._cut is None or self._cut[0] is not batch or self._cut[1] != size:
            self._cut = batch, size, batch.split(size)
        return self._cut[2]

    def start(self, contributions: tuple[str, ...], gradients: dict[str, Tensor]) -> tuple[ContributionBlock, int]:
        """Begin a window: S and S′ are zero. Returns the block and the row that record it.

        Args:
            contributions: the name of each contribution.
            gradients: tensors of the shapes that will be added.
        """
        if not self.total:
            self.total = {name: torch.zeros_like(gradient) for name, gradient in gradients.items()}
            self._sums = list(self.total.values())
            self._second = [torch.zeros_like(gradient) for gradient in self._sums]
        else:
            torch_internals.zero(self._sums)
            torch_internals.zero(self._second)
        block = self._blocks.get(contributions)
        if block is None or block.used == WINDOWS:
            block = self._blocks[contributions] = ContributionBlock(tuple(gradients), contributions, self._sums[0])
        block.used += 1
        return block, block.used - 1

    def add(self, into: Tensor, loss: Tensor, gradients: dict[str, Tensor], weight: float, parts: int) -> None:
        """S ← S + w G and S′ ← S′ + N_m G; ℓ, ‖G_p‖ and ‖S_p‖ of each parameter p are written to `into`.

        Args:
            into: the numbers that the record has for this contribution.
            loss: ℓ_m.
            gradients: G_m.
            weight: w_m.
            parts: N_m.
        """
        found = list(gradients.values())
        torch_internals.add(self._sums, found, weight)
        torch_internals.add(self._second, found, parts)
        torch.stack([loss, *norm_tensors(found + self._sums, into.dtype)], out=into)

    def replace(self, total: dict[str, Tensor]) -> None:
        """Replace S by another sum, such as the average over several processes."""
        torch_internals.copy(self._sums, list(total.values()))

    def finish(self, into: Tensor, whole: int) -> dict[str, Tensor]:
        """End a window and return S; ‖S_p − S′_p/N‖ of each parameter p is written to `into`. N is `whole`."""
        torch_internals.add(self._second, self._sums, -whole)
        torch.stack(norm_tensors(self._second, into.dtype), out=into).div_(whole)
        return self.total
