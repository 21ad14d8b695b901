"""A gradient summed from four micro-batches with their contributions on TensorBoard, against the plain loop that writes
nothing."""

import itertools
from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.measuring import Loop, Row, interleaved, ratios, row
from benchmarks.steps import BATCH, RATE, WIDTHS, data, orders, ours, plain

MICRO = BATCH // 4


def bare(width: int) -> Loop:
    """`.backward()` for a quarter of each micro-batch's loss, then one step of `torch.optim.SGD`."""
    network, batches, loss_of, samples = plain(width), orders(), nn.MSELoss(), data()
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)

    def loop(steps: int) -> None:
        for indices in itertools.islice(batches, steps):
            optimizer.zero_grad()
            for micro in indices.split(MICRO):
                (loss_of(network(samples.inputs[micro]), samples.targets[micro]) / 4).backward()
            optimizer.step()

    return loop


def rows(runs: int) -> Iterator[Row]:
    for width, threads in itertools.product(WIDTHS, (1, 2)):
        torch.set_num_threads(threads)
        seconds = interleaved(
            {"ours": ours(width, "closed_form", micro=MICRO), "bare": bare(width)}, steps=150, runs=runs
        )
        setting = f"64-{width:,}-10, 4 × 16 samples, {threads} thread{'s' * (threads > 1)}"
        claim = "closed form, contributions of 4 micro-batches logged ÷ autograd that accumulates and logs nothing"
        yield row(claim, setting, ratios(seconds, "ours", "bare"), "≤ 1.10")
