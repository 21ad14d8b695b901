"""The ledger of accumulation and the noise of the gradient, as numbers under tags."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from nets.records.contributions import Account, Page, account, noise_of, rounding
from nets.records.noise_scale import GradientNoise, RunningNoise
from nets.records.step import Step

MOST = 8
"""Contributions of a window that have curves of their own; where there are more, only the smallest and the largest has one."""


def accounted(steps: Sequence[Step]) -> Account | None:
    """What the ledger has of steps whose windows are on one page; None where there is no page."""
    windows = [step.accumulation for step in steps]
    page = windows[0].page
    return None if page is None else account(page, windows)


def numbers(steps: Sequence[Step], found: Account | None) -> "tuple[tuple[str, ...], NDArray[np.float64]]":
    """(tags, table with a row for each step) of what `accounted` has found; no tags where it has found nothing."""
    page = steps[0].accumulation.page
    if page is None or found is None:
        return (), np.empty((len(steps), 0))
    weights = np.array([step.accumulation.weights for step in steps])
    return _tags(page.names, page.contributions), np.concatenate(_columns(found, weights), 1)


def sample_numbers(steps: Sequence[Step]) -> "tuple[tuple[str, ...], NDArray[np.float64]]":
    """The same of the samples' own gradients; no tags where they were not asked for."""
    known = [step.samples for step in steps if step.samples is not None]
    if not known:
        return (), np.empty((len(steps), 0))
    tags = tuple(f"sample_norm/{name}/{what}" for name in known[0].names for what in ("mean", "largest"))
    found = [torch.stack([samples.values.mean(1), samples.values.amax(1)], 1).flatten() for samples in known]
    return tags, torch.stack(found).cpu().numpy().astype(np.float64)


def noise_numbers(
    steps: Sequence[Step], account: Account | None, noise: RunningNoise
) -> "tuple[tuple[str, ...], NDArray[np.float64]]":
    """The same of the gradient noise scale; no tags where nothing tells of it.

    Args:
        noise: the averages so far; it is given those of these steps.
    """
    found = noises(steps, account)
    if found is None:
        return (), np.empty((len(steps), 0))
    averages = [None if one is None else noise.add(one) for one in found]
    scales = [(np.nan, np.nan) if average is None else (average.scale, average.batch_size) for average in averages]
    return ("noise_scale", "noise_scale/batch_size"), np.array(scales)


def noises(steps: Sequence[Step], account: Account | None) -> list[GradientNoise | None] | None:
    """`step.noise` of these steps, from all of them at once; None where nothing tells of it."""
    if steps[0].samples is not None:
        return [step.noise for step in steps]
    return None if account is None else noise_of(account, [step.accumulation for step in steps])


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
    first = () if several else contributions[:1]

    def each(what: str, without: tuple[str, ...] = ()) -> list[str]:
        if several:
            return [f"smallest {what}", f"largest {what}"]
        return [f"{what} {one.replace('-batch', '')}" for one in contributions if one not in without]

    # The page shortens a tag in its middle, and leaves of a narrow card's title some fifteen letters of the last part.
    own = (*each("norm"), *each("cosine", without=first), "agreement", "largest share", "residual")
    return tuple(f"accumulation/{tag}" for tag in (*(f"{name}/{what}" for name in names for what in own), *each("weight")))


def told(steps: Sequence[Step]) -> dict[str, str]:
    """What there is to say of the accumulation and the noise of a run, as {title: text}; nothing where nothing tells of them."""
    agreements, counts, worst, wrong = list[float](), set[int](), 0.0, ""
    noise, average = RunningNoise(), None
    for page, own in _windows(steps):
        found = accounted(own)
        for one in noises(own, found) or ():
            average = noise.add(one) if one is not None else average
        if page is None or found is None:
            continue
        counts.add(len(page.contributions))
        agreements += found.agreement.ravel().tolist()
        worst = max(worst, float(np.nan_to_num(found.residual).max()))
        off = ~(found.residual <= rounding(page))
        if off.any() and not wrong:
            row, column = (int(i) for i in np.argwhere(off)[0])
            wrong = f"at step {own[row].step} what was added up for {page.names[column]} is not their sum"
            wrong += f", by {found.residual[row, column]:.1e} of it"
    rows = {}
    if agreements:
        number = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
        residual = wrong or f"their sum is exact to rounding, {worst:.0e}"
        rows["accumulation"] = f"{number} contributions to a gradient, {np.median(agreements):.0%} in agreement; {residual}"
    if average is not None:
        size = max(sum(step.accumulation.sizes) for step in steps)
        rows["noise scale"] = (
            f"{average.scale:.3g} samples, so batches of about {average.batch_size:,.0f}; these have {size:,}"
            if average.signal > 0
            else "no signal can be told from the noise of the gradient: larger batches, or more steps, would show one"
        )
    return rows


def _windows(steps: Sequence[Step]) -> Iterator[tuple[Page | None, list[Step]]]:
    for _, group in groupby(steps, key=lambda step: id(step.accumulation.page)):
        own = list(group)
        yield own[0].accumulation.page, own
