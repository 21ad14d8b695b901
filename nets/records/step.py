"""What is seen of a descent, kept in blocks: a step writes one row of numbers, and nobody reads it before it is asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.records.contributions import Accumulation
from nets.records.noise_scale import GradientNoise
from nets.records.sample_norms import SampleNorms

ROWS = 256
"""Steps to a block."""


class Block:
    """The numbers of up to ROWS consecutive steps, where the parameters are.

    Attributes:
        names: of the P parameters.
        values: one row for each step: ℓ, ‖G_p‖, ‖θ_p‖, and where it is not η times ‖G_p‖, ‖Δθ_p‖ / η.
        learning_rate: η.
        known: how many numbers of a row are known before the update: all but the last part.
        decisive: how many decide whether it is made: ℓ and ‖G_p‖.
    """

    def __init__(self, names: tuple[str, ...], learning_rate: float, plain: bool, like: Tensor) -> None:
        count, self.names, self.learning_rate = len(names), names, learning_rate
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self.values = torch.full((ROWS, 1 + (2 if plain else 3) * count), math.nan, dtype=dtype, device=like.device)
        self.known, self.decisive = 1 + 2 * count, 1 + count
        self._array = self.values.numpy() if like.device.type == "cpu" else None

    def write(self, row: int, numbers: Sequence[float]) -> None:
        """The numbers of a step, where they are in the memory of a processor."""
        assert self._array is not None
        self._array[row] = numbers

    def table(self, rows: Sequence[int]) -> "NDArray[np.float64]":
        """The numbers of some steps in double precision, a row each: ℓ, ‖G_p‖, (Σ_p ‖G_p‖²)^½, ‖Δθ_p‖ / ‖θ_p‖."""
        numbers, count = self.values[rows[0] : rows[-1] + 1].cpu().numpy().astype(np.float64), len(self.names)
        if len(numbers) != len(rows):
            numbers = numbers[[row - rows[0] for row in rows]]
        norms, sizes = numbers[:, 1 : 1 + count], numbers[:, 1 + count : 1 + 2 * count]
        moved = self.learning_rate * (norms if numbers.shape[1] == 1 + 2 * count else numbers[:, 1 + 2 * count :])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratios, total = moved / sizes, np.sqrt((norms * norms).sum(1, keepdims=True))
        # A parameter that is zero and stays so has moved by nothing.
        ratios[(moved == 0) & (sizes == 0)] = 0
        return np.concatenate([numbers[:, :1], norms, total, ratios], 1)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One update θ ← θ − η V, and what was seen on the way. Loss and gradient belong to the θ before the update.

    Attributes:
        step: number of this update, counted from 1.
        epoch: pass over the training data that it belongs to, counted from 1.
        accumulation: the contributions whose weighted sum the gradient is.
        block: where its numbers are, with those of the steps around it.
        row: which row of the block is its own.
        samples: the norm of each sample's own gradient, where that was asked for.
    """

    step: int
    epoch: int
    accumulation: Accumulation
    block: Block
    row: int
    samples: SampleNorms | None = None

    @classmethod
    def of(
        cls,
        step: int,
        epoch: int,
        loss: float,
        gradient_norm: Mapping[str, float],
        update_ratio: Mapping[str, float],
        accumulation: Accumulation,
    ) -> "Step":
        """The record with these numbers."""
        block = Block(tuple(gradient_norm), 1.0, False, torch.empty(0, dtype=torch.float64))
        numbers = [loss, *gradient_norm.values(), *[1.0] * len(gradient_norm), *update_ratio.values()]
        block.values[0] = torch.tensor(numbers, dtype=torch.float64)
        return cls(step, epoch, accumulation, block, 0)

    @property
    def loss(self) -> float:
        """ℓ(θ), the mean over the batch."""
        return float(self.block.values[self.row, 0])

    @property
    def gradient_norm(self) -> dict[str, float]:
        """Parameter → ‖∂ℓ/∂θ_p‖, the Euclidean norm, before momentum and weight decay."""
        return dict(zip(self.block.names, self._numbers()[1:], strict=False))

    @property
    def total_gradient_norm(self) -> float:
        """(Σ_p ‖∂ℓ/∂θ_p‖²)^½."""
        return self._numbers()[1 + len(self.block.names)]

    @property
    def update_ratio(self) -> dict[str, float]:
        """Parameter → ‖Δθ_p‖ / ‖θ_p‖; infinite where θ_p = 0 and moves."""
        return dict(zip(self.block.names, self._numbers()[2 + len(self.block.names) :], strict=True))

    @property
    def noise(self) -> GradientNoise | None:
        """How much of the gradient is noise, by this step alone: from the norms of its samples, or else of its micro-batches; None
        where there are neither."""
        return self.accumulation.noise if self.samples is None else self.samples.noise(self.total_gradient_norm)

    def _numbers(self) -> list[float]:
        return list(self.block.table([self.row])[0].tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        mine, yours = ((s.step, s.epoch, s.accumulation, s.block.names, s._numbers()) for s in (self, other))
        return mine == yours

    def __hash__(self) -> int:
        return hash((self.step, self.epoch, self.accumulation))


def numbers_of(steps: Sequence[Step]) -> "list[tuple[tuple[str, ...], NDArray[np.float64]]]":
    """The numbers of many steps, as `Block.table` has them: (names of the parameters, table) for each run of steps of one block."""
    runs = groupby(steps, key=lambda step: id(step.block))
    return [(own[0].block.names, own[0].block.table([step.row for step in own])) for _, group in runs for own in [list(group)]]
