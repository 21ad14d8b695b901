"""Accumulation and gradient noise of a whole run, in two rows of text."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from nets.records.contributions import metrics_of, rounding
from nets.records.noise_scale import RunningNoise
from nets.records.step import Step
from nets.telemetry.tensorboard.columns import noises


def accumulation_summary(steps: Sequence[Step], counted: str = "samples") -> dict[str, str]:
    """{title: text}: how far the contributions agree, whether their sums are right, and the noise scale; empty without
    them.

    Args:
        steps: the records.
        counted: what the weights of the contributions count, such as the characters of samples that are text.
    """
    agreements, counts, worst, wrong = list[float](), set[int](), 0.0, ""
    noise, average = RunningNoise(), None
    for _, group in groupby(steps, key=lambda step: id(step.accumulation.block)):
        own = list(group)
        block, metrics = own[0].accumulation.block, metrics_of([step.accumulation for step in own])
        for one in noises(own, metrics) or ():
            average = noise.add(one) if one is not None else average
        if block is None or metrics is None:
            continue
        counts.add(len(block.contributions))
        agreements += metrics.agreement.ravel().tolist()
        worst = max(worst, float(np.nan_to_num(metrics.residual).max()))
        off = ~(metrics.residual <= rounding(block))
        if off.any() and not wrong:
            row, column = (int(i) for i in np.argwhere(off)[0])
            wrong = f"at step {own[row].step} what was added up for {block.names[column]} is not their sum"
            wrong += f", by {metrics.residual[row, column]:.1e} of it"
    rows = {}
    if agreements:
        number = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
        residual = wrong or f"their sum is exact to rounding, {worst:.0e}"
        rows["accumulation"] = (
            f"{number} contributions to a gradient, {np.median(agreements):.0%} in agreement; {residual}"
        )
    if average is not None:
        size = max(sum(step.accumulation.sizes) for step in steps)
        rows["noise scale"] = (
            f"{average.scale:.3g} {counted}, so batches of about {average.batch_size:,.0f}; these have {size:,}"
            if average.signal > 0
            else "no signal was measured above the noise of the gradient: larger batches, or more steps, would show one"
        )
    return rows
