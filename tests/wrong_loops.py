"""Loops that accumulate a wrong gradient, each with what is said of it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.right_loops import (
    EQUAL,
    IGNORED,
    RAGGED,
    Loop,
    backward,
    by_samples,
    mlp,
    recurrent,
    samples,
    sentences,
    tokens,
)


def mean_of_means(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for x, target in micro_batches:
        backward(loss, module(x), target, 1 / len(micro_batches))


def not_divided(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for x, target in micro_batches:
        backward(loss, module(x), target)


def divided_again(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    by_samples(module, loss, micro_batches)
    for parameter in module.parameters():
        parameter.grad /= len(micro_batches)  # type: ignore[operator]


def sum_divided(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for x, target in micro_batches:
        backward(loss, module(x), target, 1 / len(micro_batches))


def scaled_twice(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        backward(loss, module(x), target, (len(x) / total) ** 2)


def means_scaled_twice(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for x, target in micro_batches:
        backward(loss, module(x), target, 1 / len(micro_batches) ** 2)


def last_window_lost(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """A step after every two, and never for what is left over."""
    whole = len(micro_batches) // 2 * 2
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches[:whole]:
        backward(loss, module(x), target, len(x) / total)


def zero_grad_inside(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        module.zero_grad()
        backward(loss, module(x), target, len(x) / total)


def zero_grad_after(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    by_samples(module, loss, micro_batches)
    module.zero_grad()


def backward_twice(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        value = loss(module(x), target) * (len(x) / total)
        value.backward(retain_graph=True)
        value.backward()


def sum_over_ranks(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """Two ranks, each with the mean of its own samples, and an all-reduce that sums."""
    for rank in (0, 1):
        own = micro_batches[rank::2]
        total = sum(len(x) for x, _ in own)
        for x, target in own:
            backward(loss, module(x), target, len(x) / total)


def mean_over_ranks(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """The same, and an all-reduce that averages over ranks of unequal shards."""
    sum_over_ranks(module, loss, micro_batches)
    for parameter in module.parameters():
        parameter.grad /= 2  # type: ignore[operator]


def scale_not_undone(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        backward(loss, module(x), target, 65536 * len(x) / total)


def unscaled(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        backward(loss, module(x), target, 1024 * len(x) / total)
        for parameter in module.parameters():
            parameter.grad /= 1024  # type: ignore[operator]


def clipped(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    by_samples(module, loss, micro_batches)
    nn.utils.clip_grad_norm_(module.parameters(), 1e-3)


def odd_weights(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for (x, target), weight in zip(micro_batches, (0.5, 0.3, 0.1), strict=True):
        backward(loss, module(x), target, weight)


def middle_left_out(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches[:1] + micro_batches[2:]:
        backward(loss, module(x), target, len(x) / total)


def one_layer_detached(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    by_samples(module, loss, micro_batches)
    module[0].weight.grad = None  # type: ignore[index]


def with_a_step(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    by_samples(module, loss, micro_batches)
    torch.optim.SGD(module.parameters(), lr=0.1).step()


def in_single_precision(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    by_samples(module, loss, micro_batches)
    for parameter in module.parameters():
        parameter.grad = parameter.grad.float().double()  # type: ignore[union-attr]


def masked_mean(y: Tensor, target: Tensor) -> Tensor:
    """By hand, so that nothing divided by nothing is not a number."""
    logs = y.log_softmax(-1).gather(-1, target.clamp(min=0)[..., None])[..., 0]
    return -(logs * (target != IGNORED)).sum() / (target != IGNORED).sum()


def contrastive(y: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(y @ y.T, torch.arange(len(y)))


WRONG: dict[str, tuple[nn.Module, Any, list[Any], Loop, str]] = {
    # What is written is a pattern for the reason.
    "× K": (mlp(), F.mse_loss, EQUAL, not_divided, r"off by 300 % of its norm; it looks like × 4: a sum over 4 micro-batches"),
    "× K, ragged": (mlp(), F.mse_loss, RAGGED, not_divided, r"looks like × 3: a sum over 3 micro-batches \(or ranks\)"),
    "÷ K": (mlp(), F.mse_loss, RAGGED, divided_again, r"off by 67 % of its norm; it looks like ÷ 3: "),
    "÷ K of a sum": (mlp(), nn.MSELoss(reduction="sum"), RAGGED, sum_divided, r"looks like (÷ 3: |.*, or ÷ 3: )"),
    "mean of means": (mlp(), F.mse_loss, RAGGED, mean_of_means, r"looks like a mean of means: each of 3 micro-batches"),
    "mean of means, tokens": (recurrent(), tokens, sentences((2, 3, 15)), mean_of_means, r"looks like a mean of means"),
    "last window lost": (mlp(), F.mse_loss, RAGGED, last_window_lost, r"looks like the last window lost: micro-batch 3 is left ou"),
    "zero_grad inside": (mlp(), F.mse_loss, RAGGED, zero_grad_inside, r"looks like zero_grad inside the window: only micro-batch "),
    "zero_grad after": (mlp(), F.mse_loss, RAGGED, zero_grad_after, r"nothing is left in \.grad"),
    "scaled twice": (mlp(), F.mse_loss, RAGGED, scaled_twice, r"looks like scaled twice: each micro-batch by its share, and again"),
    "means scaled twice": (mlp(), F.mse_loss, RAGGED, means_scaled_twice, r"looks like scaled twice: divided by 3"),
    "scaled twice, equal": (mlp(), F.mse_loss, EQUAL, means_scaled_twice, r"looks like ÷ 4: .*, or scaled twice"),
    "backward twice": (mlp(), F.mse_loss, RAGGED, backward_twice, r"off by 100 % of its norm; it looks like × 2: back"),
    "sum over ranks": (mlp(), F.mse_loss, EQUAL, sum_over_ranks, r"× 2: a sum over 2 ranks where their mean is right"),
    "sum over ranks, ragged": (mlp(), F.mse_loss, RAGGED, sum_over_ranks, r"looks like a sum over 2 ranks, each with the mean of "),
    "mean over ranks, ragged": (mlp(), F.mse_loss, RAGGED, mean_over_ranks, r"looks like a mean over 2 ranks, whatever the share "),
    "BatchNorm statistics": (mlp(nn.BatchNorm1d(4)), F.mse_loss, RAGGED, by_samples, r"BatchNorm statistics: .*; the loop itself "),
    "BatchNorm and × K": (mlp(nn.BatchNorm1d(4)), F.mse_loss, EQUAL, not_divided, r"looks like × 4: .*; besides, BatchNorm statis"),
    "dropout": (mlp(nn.Dropout(0.5)), F.mse_loss, RAGGED, by_samples, r"not deterministic: .*dropout.* the accumulation is ri"),
    "dropout and × K": (mlp(nn.Dropout(0.5)), F.mse_loss, EQUAL, not_divided, r"looks like × 4: "),
    "loss scale": (mlp(), F.mse_loss, RAGGED, scale_not_undone, r"looks like a constant factor 65536, such as a loss scale that i"),
    "unscaled": (mlp(), F.mse_loss, RAGGED, unscaled, r"looks like divided by the loss scale 1024 after each micro-batch"),
    "clipped": (mlp(), F.mse_loss, RAGGED, clipped, r"looks like a constant factor 0\.00\d+\)"),
    "odd weights": (mlp(), F.mse_loss, RAGGED, odd_weights, r"its micro-batches weigh 0\.5, 0\.3, 0\.1 where 0\.4, 0\.4, 0\.2 is "),
    "middle left out": (mlp(), F.mse_loss, RAGGED, middle_left_out, r"looks like micro-batch 2 left out"),
    "one layer": (mlp(), F.mse_loss, RAGGED, one_layer_detached, r"nothing arrives at 0\.weight"),
    "a step": (mlp(), F.mse_loss, RAGGED, with_a_step, r"stateful: the closure moved 0\.weight"),
    "single precision": (mlp(), F.mse_loss, RAGGED, in_single_precision, r"the right sum in single precision"),
    "an empty one": (mlp(), F.mse_loss, samples((4, 0, 2), 3), mean_of_means, r"looks like a mean of means: each of 3"),
    "a masked one": (recurrent(), masked_mean, sentences((2, 0, 15)), mean_of_means, r"micro-batch 2 has nothing in it that count"),
    "a mean of means, one masked": (recurrent(), tokens, sentences((2, 0, 15)), mean_of_means, r"looks like a mean of means: eac"),
    "contrastive": (mlp(), contrastive, RAGGED, by_samples, r"the loss is no sum over the samples"),
}  # fmt: skip
