"""The time of reading one number of a step, and the cost of a mask in the loss."""

import itertools
import time
from collections.abc import Callable, Iterator

import torch

import nets
from benchmarks.measuring import Loop, Row, interleaved, ratios, row
from benchmarks.steps import BATCH, RATE, data


def stepping(loss: nets.Loss) -> Loop:
    """Steps of a classifier 64-32-10 that writes nothing."""
    samples = data()
    classes = torch.randint(10, (len(samples),), generator=torch.Generator().manual_seed(0))
    steps_of = nets.descend(
        nets.mlp([64, 32, 10], output="identity"), nets.Batch(samples.inputs, classes), loss=loss, learning_rate=RATE,
        steps=10**9, batch_size=BATCH,
    )  # fmt: skip

    def loop(steps: int) -> None:
        for _ in itertools.islice(steps_of, steps):
            pass

    return loop


def microseconds(read: Callable[[], float], runs: int, calls: int = 10_000) -> list[float]:
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(calls):
            read()
        found.append((time.perf_counter() - start) / calls * 1e6)
    return found


def rows(runs: int) -> Iterator[Row]:
    torch.set_num_threads(1)
    network = nets.mlp([64, 32, 10], output="identity")
    (step,) = nets.descend(network, data(), loss=nets.MeanSquaredError(), learning_rate=RATE, steps=1)
    for name in ("gradient_norm", "update_ratio"):
        found = microseconds(lambda name=name: getattr(step, name)["0.weight"], runs)  # type: ignore[misc]
        yield row(f"step.{name}[parameter], in microseconds", "64-32-10", found, "≤ 2")
    seconds = interleaved(
        {"masked": stepping(nets.MaskedCrossEntropy()), "all": stepping(nets.CrossEntropy())}, 300, runs
    )
    setting = "64-32-10, batch 64, 1 thread"
    yield row("a step with MaskedCrossEntropy ÷ with CrossEntropy", setting, ratios(seconds, "masked", "all"), "stated")
