"""Loops that accumulate the right gradient, and the modules, losses and micro-batches that they run on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nets

Loop = Callable[[nn.Module, Any, list[Any]], object]
IGNORED = -100


@dataclass(frozen=True)
class Setting:
    """A module, a loss, micro-batches, and the loop that is right for them."""

    name: str
    module: nn.Module
    loss: Any
    micro_batches: list[Any]
    right: Loop

    def __str__(self) -> str:
        return self.name


def backward(loss: Any, y: Any, target: Any, factor: float = 1.0) -> None:
    (factor * loss(y, target)).backward()


def by_samples(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        if len(x):
            backward(loss, module(x), target, len(x) / total)


def by_tokens(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(int((target != IGNORED).sum()) for _, target in micro_batches)
    for x, target in micro_batches:
        if (target != IGNORED).any():
            backward(loss, module(x), target, float((target != IGNORED).sum()) / total)


def summed(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for x, target in micro_batches:
        backward(loss, module(x), target)


def summed_by_arguments(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for given, target in micro_batches:
        backward(loss, module(**given) if isinstance(given, dict) else module(*given), target)


def divided_once(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """N_m ℓ_m summed, and .grad divided by N at the end."""
    module.zero_grad()
    for x, target in micro_batches:
        backward(loss, module(x), target, len(x))
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad /= sum(len(x) for x, _ in micro_batches)


def by_autograd(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """All outputs first, one loss."""
    y = torch.cat([module(x) for x, _ in micro_batches])
    loss(y, torch.cat([target for _, target in micro_batches])).backward()


def tokens(y: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(y.flatten(0, 1), target.flatten(), ignore_index=IGNORED)


def token_sum(y: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(y.flatten(0, 1), target.flatten(), ignore_index=IGNORED, reduction="sum")


def samples(sizes: tuple[int, ...], *shape: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, *shape, generator=g), torch.randn(n, 2, generator=g)) for n in sizes]


def sentences(counts: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    """Micro-batches of one sentence of twenty tokens; so many of these count."""
    g = torch.Generator().manual_seed(1)
    made = []
    for count in counts:
        target = torch.randint(0, 7, (1, 20), generator=g)
        target[0, count:] = IGNORED
        made.append((torch.randint(0, 7, (1, 20), generator=g), target))
    return made


def mlp(*between: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(3, 4), *between, nn.Tanh(), nn.Linear(4, 2))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell, self.out = nn.Embedding(7, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.cell(self.embedding(x))[0])
        return y


class Added(nn.Module):
    """Two inputs, by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        return {"y": self.first(a) + self.second(b).tanh()}


def recurrent() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Recurrent()


def frozen() -> nn.Module:
    module = mlp()
    module[0].weight.requires_grad_(False)  # type: ignore[index]
    return module


RAGGED, EQUAL = samples((4, 4, 2), 3), samples((3, 3, 3, 3), 3)
CLASSES = [(x, y.argmax(1)) for x, y in RAGGED]
PAIRS = [((x, x.flip(0)), y) for x, y in RAGGED]
NAMED = [({"a": x, "b": x.flip(0)}, y) for x, y in RAGGED]
WEIGHTED = nn.CrossEntropyLoss(weight=torch.tensor([0.3, 2.0]))


def by_class_weight(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    shares = [float(loss.weight[target].sum()) for _, target in micro_batches]
    for (x, target), share in zip(micro_batches, shares, strict=True):
        backward(loss, module(x), target, share / sum(shares))


def sum_of_dict(y: dict[str, Tensor], target: Tensor) -> Tensor:
    return F.mse_loss(y["y"], target, reduction="sum")


RIGHT = [
    Setting("equal", mlp(), F.mse_loss, EQUAL, by_samples),
    Setting("ragged", mlp(), F.mse_loss, RAGGED, by_samples),
    Setting("divided once", mlp(), F.mse_loss, RAGGED, divided_once),
    Setting("one loss of all outputs", mlp(), F.mse_loss, RAGGED, by_autograd),
    Setting("an empty one", mlp(), F.mse_loss, samples((4, 0, 2), 3), by_samples),
    Setting("one micro-batch", mlp(), F.mse_loss, samples((5,), 3), by_samples),
    Setting("very ragged", mlp(), F.mse_loss, samples((9, 1), 3), by_samples),
    Setting("many", mlp(), F.mse_loss, samples((1,) * 70, 3), by_samples),
    Setting("sums", mlp(), nn.MSELoss(reduction="sum"), RAGGED, summed),
    Setting("tokens", recurrent(), tokens, sentences((2, 3, 15)), by_tokens),
    Setting("tokens, one fully masked", recurrent(), tokens, sentences((2, 0, 15)), by_tokens),
    Setting("sum of tokens", recurrent(), token_sum, sentences((9, 9)), summed),
    Setting("class weights", mlp(), WEIGHTED, CLASSES, by_class_weight),
    Setting("two inputs", Added(), sum_of_dict, PAIRS, summed_by_arguments),
    Setting("named inputs", Added(), sum_of_dict, NAMED, summed_by_arguments),
    Setting("frozen", frozen(), F.mse_loss, RAGGED, by_samples),
    Setting("BatchNorm in eval mode", mlp(nn.BatchNorm1d(4)).eval(), F.mse_loss, RAGGED, by_samples),
    Setting("dropout in eval mode", mlp(nn.Dropout(0.5)).eval(), F.mse_loss, RAGGED, by_samples),
    Setting("layer norm", mlp(nn.LayerNorm(4)), F.mse_loss, RAGGED, by_samples),
    Setting("saturated", nn.Sequential(mlp(), nn.Tanh()), F.mse_loss, [(9 * x, y) for x, y in RAGGED], by_samples),
    Setting("nets", nets.mlp([3, 4, 2]), nets.MeanSquaredError(), RAGGED, by_samples),
]  # fmt: skip
