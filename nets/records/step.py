"""The record of an update. The numbers of many steps are in one block of memory; each step writes one row.

A row is turned into named numbers only when it is read.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
"""Steps in a block."""


@dataclass(frozen=True, slots=True)
class StepNumbers:
    """The numbers of S steps of one block, in double precision. P is the number of parameters.

    Attributes:
        names: of the parameters.
        loss: ℓ, shape (S,).
        gradient_norm: ‖∂ℓ/∂θ_p‖, shape (S, P).
        total_gradient_norm: (Σ_p ‖∂ℓ/∂θ_p‖²)^½, shape (S,).
        update_ratio: ‖Δθ_p‖ / ‖θ_p‖, shape (S, P).
        learning_rate: η, shape (S,).
        recorded: what the update rule records of its own by name, each of shape (S,).
    """

    names: tuple[str, ...]
    loss: "NDArray[np.float64]"
    gradient_norm: "NDArray[np.float64]"
    total_gradient_norm: "NDArray[np.float64]"
    update_ratio: "NDArray[np.float64]"
    learning_rate: "NDArray[np.float64]"
    recorded: "dict[str, NDArray[np.float64]]"


class Block:
    """The numbers of up to ROWS consecutive steps, on the device of the parameters.

    Attributes:
        names: of the P parameters.
        values: a row for each step: ℓ, ‖G_p‖, ‖θ_p‖ before the update, ‖D_p‖, where Δθ_p = scale · D_p, and one number
            for each name of `recorded`.
        scales: |scale| of each step.
        rates: η of each step.
        recorded: what the update rule records of its own.
        width: the number of values in a row.
        known: the number of values in a row that are known before the update: all except ‖D_p‖.
        decisive: the number of values that decide whether the update is made: ℓ and ‖G_p‖.
        place: parameter → p.
        item: (row, column) → one of the values.
        scale: row → one of the scales.
    """

    def __init__(self, names: tuple[str, ...], like: Tensor, recorded: tuple[str, ...] = ()) -> None:
        count, self.names, self.recorded = len(names), names, recorded
        self.width = 1 + 3 * count + len(recorded)
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self.values = torch.full((ROWS, self.width), math.nan, dtype=dtype, device=like.device)
        self.scales, self.rates = np.zeros(ROWS), np.full(ROWS, math.nan)
        self.known, self.decisive = 1 + 2 * count, 1 + count
        self.place = {name: place for place, name in enumerate(names)}
        self._array = self.values.numpy() if like.device.type == "cpu" else None
        # These methods are bound once, since calling them takes less time than indexing.
        self.item: Callable[[int, int], float] = self._fetched_item if self._array is None else self._array.item
        self.scale: Callable[[int], float] = self.scales.item
        self._fetched: tuple[int, NDArray[np.floating]] | None = None

    def write(self, row: int, values: Sequence[float], scale: float) -> None:
        """The values of a step, for a block in the memory of the CPU."""
        assert self._array is not None
        self._array[row] = values
        self.scales[row] = abs(scale)

    def row(self, row: int) -> "NDArray[np.floating]":
        """The values of one step. From a GPU they are fetched once."""
        if self._array is not None:
            return self._array[row]
        if self._fetched is None or self._fetched[0] != row:
            self._fetched = row, self.values[row].cpu().numpy()
        return self._fetched[1]

    def _fetched_item(self, row: int, column: int) -> float:
        return float(self.row(row)[column])

    def numbers(self, rows: Sequence[int]) -> StepNumbers:
        """The numbers of some steps, whose rows ascend."""
        values, count = self.values[rows[0] : rows[-1] + 1].cpu().numpy().astype(np.float64), len(self.names)
        if len(values) != len(rows):
            values = values[[row - rows[0] for row in rows]]
        gradients, sizes = values[:, 1 : 1 + count], values[:, 1 + count : 1 + 2 * count]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = self.scales[list(rows), None] * values[:, 1 + 2 * count : 1 + 3 * count]
            ratios, total = moved / sizes, np.sqrt((gradients * gradients).sum(1))
        # A parameter that is zero and stays zero has the ratio 0.
        ratios[(moved == 0) & (sizes == 0)] = 0
        own = dict(zip(self.recorded, values[:, 1 + 3 * count :].T, strict=True))
        return StepNumbers(self.names, values[:, 0], gradients, total, ratios, self.rates[list(rows)], own)


class _PerParameter(Mapping[str, float]):
    """Parameter → number of one step, read from the block when it is asked for."""

    __slots__ = ("_block", "_row")

    def __init__(self, block: Block, row: int) -> None:
        self._block, self._row = block, row

    def __iter__(self) -> Iterator[str]:
        return iter(self._block.names)

    def __len__(self) -> int:
        return len(self._block.names)

    def __repr__(self) -> str:
        return repr(dict(self))


class _GradientNorms(_PerParameter):
    """‖∂ℓ/∂θ_p‖."""

    __slots__ = ()

    def __getitem__(self, name: str) -> float:
        return self._block.item(self._row, 1 + self._block.place[name])


class _UpdateRatios(_PerParameter):
    """‖Δθ_p‖ / ‖θ_p‖."""

    __slots__ = ()

    def __getitem__(self, name: str) -> float:
        block, row = self._block, self._row
        place = block.place[name]
        size = block.item(row, block.decisive + place)
        moved = block.scale(row) * block.item(row, block.known + place)
        if size == 0:
            return 0.0 if moved == 0 else math.nan if math.isnan(moved) else math.inf
        return moved / size


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One update θ ← θ + Δθ. Loss and gradient belong to the θ before the update.

    Attributes:
        step: number of this update, counted from 1.
        epoch: pass over the training data that it belongs to, counted from 1.
        accumulation: the contributions whose weighted sum the gradient is.
        block: holds the numbers of this step and of its neighbours.
        row: the row of this step in the block.
        sample_norms: the norm of each sample's own gradient, where `descend` was given sample_norms=True.
    """

    step: int
    epoch: int
    accumulation: Accumulation
    block: Block
    row: int
    sample_norms: SampleNorms | None = None

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
        block = Block(tuple(gradient_norm), torch.empty(0, dtype=torch.float64))
        block.write(0, [loss, *gradient_norm.values(), *[1.0] * len(gradient_norm), *update_ratio.values()], 1.0)
        return cls(step, epoch, accumulation, block, 0)

    @property
    def loss(self) -> float:
        """ℓ(θ) of the batch."""
        return self.block.item(self.row, 0)

    @property
    def gradient_norm(self) -> Mapping[str, float]:
        """Parameter → ‖∂ℓ/∂θ_p‖, the Euclidean norm, before momentum and weight decay. A view: nothing is copied."""
        return _GradientNorms(self.block, self.row)

    @property
    def total_gradient_norm(self) -> float:
        """(Σ_p ‖∂ℓ/∂θ_p‖²)^½."""
        norms = self.block.row(self.row)[1 : self.block.decisive].astype(np.float64)
        with np.errstate(over="ignore"):
            return float(np.sqrt((norms * norms).sum()))

    @property
    def learning_rate(self) -> float:
        """η of this update. NaN where it is not known."""
        return float(self.block.rates[self.row])

    @property
    def clipped_gradient_norm(self) -> float | None:
        """The same norm of the clipped gradients, which the update uses; None if nothing is clipped."""
        recorded = self.block.recorded
        place = self.block.width - len(recorded)
        known = dict(zip(recorded, self.block.row(self.row)[place:], strict=True))
        return float(known["clipped_gradient_norm"]) if "clipped_gradient_norm" in known else None

    @property
    def update_ratio(self) -> Mapping[str, float]:
        """Parameter → ‖Δθ_p‖ / ‖θ_p‖; infinite if θ_p was 0 and is not any more. A view: nothing is copied."""
        return _UpdateRatios(self.block, self.row)

    @property
    def noise(self) -> GradientNoise | None:
        """The gradient noise of this step alone, from the norms of its samples or else of its micro-batches;

        None without both.
        """
        norms = self.sample_norms
        return self.accumulation.noise if norms is None else norms.noise(self.total_gradient_norm)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        mine, yours = (
            (s.step, s.epoch, s.accumulation, s.loss, dict(s.gradient_norm), dict(s.update_ratio))
            for s in (self, other)
        )
        return mine == yours

    def __hash__(self) -> int:
        return hash((self.step, self.epoch, self.accumulation))


def numbers_of(steps: Sequence[Step]) -> list[StepNumbers]:
    """The numbers of many steps: one entry for each run of steps that share a block."""
    runs = groupby(steps, key=lambda step: id(step.block))
    return [own[0].block.numbers([step.row for step in own]) for _, group in runs for own in [list(group)]]
