"""The record of a gradient that is a sum: the norm of each contribution, and whether the sum is right.

A window is the sum of one step: its contributions are micro-batches or ranks. A contribution costs one call for all
norms and one addition to a second sum, whatever the number of parameters. The numbers of many windows are in one block
of memory, on the device of the gradients, until they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.records.noise_scale import GradientNoise, gradient_noise

WINDOWS = 256
"""Windows in a block."""

UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}
"""u, half the distance from 1 to the next larger number."""


class ContributionBlock:
    """The numbers of up to WINDOWS windows that have the same number of contributions.

    Attributes:
        names: of the P parameters.
        contributions: the names of the K contributions.
        unit: u of the precision in which the sum was made.
        values: a row for each window: for each contribution m ℓ_m, ‖G_mp‖ and ‖S_mp‖, with S_m the sum of the
            contributions up to and including m; then ‖S_p − S′_p‖, with S′ the second sum.
        rows: for each window and contribution, the part of `values` that `Accumulator.add` writes.
        residuals: for each window, the part of `values` that `Accumulator.finish` writes.
        used: the number of windows written.
    """

    def __init__(self, names: tuple[str, ...], contributions: tuple[str, ...], like: Tensor) -> None:
        self.names, self.contributions, self.unit = names, contributions, UNIT.get(like.dtype, 2.0**-24)
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        count, wide = len(contributions), 1 + 2 * len(names)
        self.values = torch.full((WINDOWS, count * wide + len(names)), torch.nan, dtype=dtype, device=like.device)
        self.rows = [row[: count * wide].view(count, wide).unbind() for row in self.values.unbind()]
        self.residuals = self.values[:, count * wide :].unbind()
        self.used = 0

    def table(self, rows: Sequence[int]) -> "NDArray[np.float64]":
        """The rows of `values` in double precision."""
        numbers = self.values[rows[0] : rows[-1] + 1].cpu().numpy().astype(np.float64)
        return numbers if len(numbers) == len(rows) else numbers[[row - rows[0] for row in rows]]


@dataclass(frozen=True, slots=True, eq=False)
class Accumulation:
    """How the gradient of one step was summed: G = Σ_m w_m G_m.

    A loss that is a mean has w_m = N_m / Σ N_m, whatever the sizes; a loss that is a sum has w_m = 1. A single
    contribution has no numbers of its own but its size.

    Attributes:
        sizes: N_m, the number of samples in each contribution that the loss does not mask.
        weights: w_m.
        block: holds the numbers of this window and of others; None for a single contribution.
        row: the row of this window in the block.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    block: ContributionBlock | None = None
    row: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each contribution: 'micro-batch 2' or 'rank 1'."""
        return () if self.block is None else self.block.contributions

    @property
    def losses(self) -> tuple[float, ...]:
        """ℓ_m; empty for a single contribution, whose loss is the loss of the step."""
        return () if self.block is None else tuple(self._metrics().losses[0].tolist())

    @property
    def norms(self) -> dict[str, tuple[float, ...]]:
        """Parameter → ‖G_m‖ of each contribution."""
        return {} if self.block is None else _per_parameter(self.block, self._metrics().norms[0].T)

    @property
    def cosines(self) -> dict[str, tuple[float, ...]]:
        """Parameter → the cosine between each contribution and the sum before it; NaN for the first, and at zero."""
        return {} if self.block is None else _per_parameter(self.block, self._metrics().cosines[0].T)

    @property
    def agreement(self) -> dict[str, float]:
        """Parameter → ‖Σ w_m G_m‖ / Σ w_m ‖G_m‖.

        1 where all contributions point the same way, about 1/√K where they are noise, 0 where they cancel.
        """
        return (
            {}
            if self.block is None
            else dict(zip(self.block.names, self._metrics().agreement[0].tolist(), strict=True))
        )

    @property
    def largest(self) -> dict[str, tuple[str, float]]:
        """Parameter → the contribution with the largest w_m ‖G_m‖, and its share of Σ w_m ‖G_m‖."""
        if self.block is None:
            return {}
        shares = self._metrics().shares[0].T
        return {n: (self.names[int(s.argmax())], float(s.max())) for n, s in zip(self.block.names, shares, strict=True)}

    @property
    def residual(self) -> dict[str, float]:
        """Parameter → ‖S − S′‖ / Σ w_m ‖G_m‖: the distance between the sum and a second one.

        S′ = 1/N Σ_m N_m G_m adds whole multiples of G_m and divides once, at the end, so that it is rounded
        differently.
        """
        return (
            {} if self.block is None else dict(zip(self.block.names, self._metrics().residual[0].tolist(), strict=True))
        )

    @property
    def is_the_sum(self) -> bool:
        """Whether rounding explains every residual, see `rounding`."""
        return self.block is None or bool((self._metrics().residual <= rounding(self.block)).all())

    @property
    def noise(self) -> GradientNoise | None:
        """The gradient noise of this step alone, see `gradient_noise`; None without two contributions."""
        return None if self.block is None else noise_of(self._metrics(), [self])[0]

    def _metrics(self) -> "ContributionMetrics":
        metrics = metrics_of([self])
        assert metrics is not None
        return metrics

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Accumulation):
            return NotImplemented
        mine, yours = (
            (a.sizes, a.weights, a.names, None if a.block is None else a.block.table([a.row]).tolist())
            for a in (self, other)
        )
        return mine == yours

    def __hash__(self) -> int:
        return hash((self.sizes, self.weights))


@lru_cache
def single_contribution(samples: int) -> Accumulation:
    """The record of a gradient that comes in one piece."""
    return Accumulation((samples,), (1.0,))


@dataclass(frozen=True, slots=True)
class ContributionMetrics:
    """The numbers of S windows of one block.

    Shapes: losses (S, K); norms, cosines and shares (S, K, P); the others (S, P).
    """

    losses: "NDArray[np.float64]"
    norms: "NDArray[np.float64]"
    cosines: "NDArray[np.float64]"
    shares: "NDArray[np.float64]"
    total: "NDArray[np.float64]"
    agreement: "NDArray[np.float64]"
    residual: "NDArray[np.float64]"


def metrics_of(windows: Sequence[Accumulation]) -> ContributionMetrics | None:
    """The numbers of windows that share a block; None for windows of a single contribution.

    With a = w_m G_m: a·S = (‖S + a‖² − ‖S‖² − ‖a‖²) / 2, so norms alone give the cosine.
    """
    block = windows[0].block
    if block is None:
        return None
    table, count, wide = (
        block.table([window.row for window in windows]),
        len(block.contributions),
        1 + 2 * len(block.names),
    )
    parts = table[:, : count * wide].reshape(len(windows), count, wide)
    norms, sums = parts[:, :, 1 : 1 + len(block.names)], parts[:, :, 1 + len(block.names) :]
    added = np.abs(np.array([window.weights for window in windows]))[:, :, None] * norms
    with np.errstate(all="ignore"):
        before, now = sums[:, :-1], added[:, 1:]
        cosines = np.full_like(norms, np.nan)
        cosines[:, 1:] = (((sums[:, 1:] - before) * (sums[:, 1:] + before) - now * now) / (2 * before * now)).clip(
            -1, 1
        )
        whole = added.sum(1)
        agreement, residual = sums[:, -1] / whole, table[:, count * wide :] / whole
        # For a sum of zeros: the contributions agree, and the sum is right.
        agreement[whole == 0], residual[whole == 0] = 1, 0
        shares = np.where(whole[:, None] == 0, 1 / count, added / whole[:, None])
    return ContributionMetrics(parts[:, :, 0], norms, cosines, shares, sums[:, -1], agreement, residual)


def rounding(block: ContributionBlock) -> float:
    """The largest residual that rounding explains: the relative error of each product, addition and norm is at most
    u."""
    return 4 * (len(block.contributions) + 2) * block.unit


def noise_of(found: ContributionMetrics, windows: Sequence[Accumulation]) -> list[GradientNoise | None]:
    """The gradient noise of each window, over all parameters: contributions are small batches, their sum is the large
    one."""
    noises: list[GradientNoise | None] = []
    for window, norms, total in zip(windows, found.norms, found.total, strict=True):
        sizes, weights = np.array(window.sizes, float), np.array(window.weights)
        counted = sizes > 0
        if counted.sum() < 2:
            noises.append(None)
            continue
        # These are G_m of a mean. The G_m of a sum are all N times as long; their ratio is the same.
        factors = weights[counted] * sizes.sum() / sizes[counted]
        small = float(np.square(factors[:, None] * norms[counted]).sum(1).mean())
        harmonic = float(counted.sum() / (1 / sizes[counted]).sum())
        noises.append(gradient_noise(small, harmonic, float(np.square(total).sum()), float(sizes.sum())))
    return noises


def _per_parameter(block: ContributionBlock, numbers: "NDArray[np.float64]") -> dict[str, tuple[float, ...]]:
    return {name: tuple(row.tolist()) for name, row in zip(block.names, numbers, strict=True)}
