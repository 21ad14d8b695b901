"""The ledger of accumulation and the noise of the gradient, as numbers under tags."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from nets.training.ledger import Account, Page, account, noise_of, rounding
from nets.training.noise import RunningNoise
from nets.training.records import Step

MOST = 8
"""Contributions of a window that have curves of their own; where there are more, only the smallest and the largest has one."""


def numbers(page: Page | None, steps: Sequence[Step], noise: RunningNoise) -> "tuple[tuple[str, ...], NDArray[np.float64]]":
    """(tags, table with a row for each step) of steps whose ledgers are on one page; no tags where there is no page.

    Args:
        noise: the averages so far; it is given those of these steps.
    """
    if page is None:
        return (), np.empty((len(steps), 0))
    windows = [step.accumulation for step in steps]
    found = account(page, windows)
    weights = np.array([window.weights for window in windows])
    scales = []
    for one in noise_of(found, windows):
        average = noise.add(one) if one is not None else None
        scales.append((np.nan, np.nan) if average is None else (average.scale, average.batch_size))
    return _tags(page.names, page.contributions), np.concatenate([*_columns(found, weights), np.array(scales)], 1)


def _columns(found: Account, weights: "NDArray[np.float64]") -> "list[NDArray[np.float64]]":
    """In the order of `_tags`."""
    several = weights.shape[1] > MOST
    columns = []
    for p in range(found.total.shape[1]):
        norms, cosines = found.norms[:, :, p], found.cosines[:, 1:, p]
        columns += [_extremes(norms), _extremes(cosines)] if several else [norms, cosines]
        columns.append(np.stack([found.agreement[:, p], found.shares[:, :, p].max(1), found.residual[:, p]], 1))
    return [*columns, _extremes(weights) if several else weights]


def _extremes(table: "NDArray[np.float64]") -> "NDArray[np.float64]":
    # A cosine is not a number where something is zero.
    known = np.where(np.isnan(table), np.inf, table).min(1), np.where(np.isnan(table), -np.inf, table).max(1)
    return np.stack([np.where(np.isfinite(column), column, np.nan) for column in known], 1)


@lru_cache
def _tags(names: tuple[str, ...], contributions: tuple[str, ...]) -> tuple[str, ...]:
    several = len(contributions) > MOST
    each = ("smallest", "largest") if several else contributions
    later = each if several else contributions[1:]
    found = [
        f"accumulation/{name}/{what}"
        for name in names
        for what in (*(f"norm/{c}" for c in each), *(f"cosine/{c}" for c in later), "agreement", "largest share", "residual")
    ]
    return (*found, *(f"accumulation/weights/{c}" for c in each), "noise_scale", "noise_scale/batch_size")


def told(steps: Sequence[Step]) -> dict[str, str]:
    """What there is to say of the accumulation in a run, as {title: text}; nothing where no gradient is a sum."""
    noise, agreements, least, most, worst, wrong = RunningNoise(), list[float](), 0, 0, 0.0, ""
    average = None
    for page, own in _windows(steps):
        windows = [step.accumulation for step in own]
        found, count = account(page, windows), len(page.contributions)
        least, most = min(least or count, count), max(most, count)
        agreements += found.agreement.ravel().tolist()
        worst = max(worst, float(np.nan_to_num(found.residual).max()))
        off = ~(found.residual <= rounding(page))
        if off.any() and not wrong:
            row, column = (int(i) for i in np.argwhere(off)[0])
            wrong = f"at step {own[row].step} what was added up for {page.names[column]} is not their sum"
            wrong += f", by {found.residual[row, column]:.1e} of it"
        for one in noise_of(found, windows):
            average = noise.add(one) if one is not None else average
    if not agreements:
        return {}
    number = f"{least} to {most}" if least < most else str(most)
    residual = wrong or f"their sum is exact to rounding, {worst:.0e}"
    rows = {"accumulation": f"{number} contributions to a gradient, {np.median(agreements):.0%} in agreement; {residual}"}
    if average is not None:
        size = max(sum(step.accumulation.sizes) for step in steps)
        rows["noise scale"] = (
            f"{average.scale:.3g} samples, so batches of about {average.batch_size:,.0f}; these have {size:,}"
            if average.signal > 0
            else "no signal can be told from the noise of the gradient: larger batches, or more steps, would show one"
        )
    return rows


def _windows(steps: Sequence[Step]) -> Iterator[tuple[Page, list[Step]]]:
    for _, group in groupby(steps, key=lambda step: id(step.accumulation.page)):
        own = list(group)
        if own[0].accumulation.page is not None:
            yield own[0].accumulation.page, own
