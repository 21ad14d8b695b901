"""A plain PyTorch loop with and without `nets.GradientMonitor`: a perceptron of ten million parameters, and a small
transformer."""

import itertools
import tempfile
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import nets
from benchmarks.measuring import Loop, Row, interleaved, ratios, row


def perceptron() -> tuple[nn.Module, Tensor, Tensor]:
    """A network of 10.5 million parameters, and 256 samples."""
    sizes = (1024, 2048, 2048, 2048, 10)
    layers = [layer for i, o in itertools.pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1]), torch.randn(256, 1024), torch.rand(256, 10)


def transformer() -> tuple[nn.Module, Tensor, Tensor]:
    """A transformer of two layers, width 128 and four heads, and 16 sequences of 64 tokens."""
    layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 2), torch.randn(16, 64, 128), torch.rand(16, 64, 128)


def loop_of(model: tuple[nn.Module, Tensor, Tensor], monitored: bool, device: str = "cpu") -> Loop:
    network, x, t = (part.to(device) for part in model)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    monitor = nets.GradientMonitor(network, tempfile.mkdtemp()) if monitored else None

    def loop(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(network(x), t)
            loss.backward()
            if monitor is not None:
                monitor.step(loss)
            optimizer.step()
        if monitor is not None:
            monitor.flush()

    return loop


MODELS: dict[str, tuple[Callable[[], tuple[nn.Module, Tensor, Tensor]], int]] = {
    "10.5 million parameters, batch 256": (perceptron, 2),
    "transformer, 265,000 parameters, 16 × 64 tokens": (transformer, 10),
}
"""The models, each with the number of steps to time."""


def rows(runs: int) -> Iterator[Row]:
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, (make, steps) in MODELS.items():
            torch.manual_seed(0)
            model = make()
            loops = {"with": loop_of(model, True), "without": loop_of(model, False), "again": loop_of(model, False)}
            seconds = interleaved(loops, steps=steps, runs=3 * runs)
            unchanged = row("", "", ratios(seconds, "again", "without"), "stated")
            spread = f"{unchanged.ratio:.3f} [{unchanged.low:.2f}, {unchanged.high:.2f}]"
            why = f"in the same run, the loop without it ÷ a second copy of itself is {spread}"
            setting = f"{name}, {threads} thread{'s' * (threads > 1)}"
            yield row(
                "GradientMonitor, every norm logged ÷ without",
                setting,
                ratios(seconds, "with", "without"),
                "≤ 1.02",
                why,
            )
