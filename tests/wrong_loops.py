"""Loops that accumulate a wrong gradient, each with the reason that must be found."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.records.loop_reason import LoopReason
from nets.records.reason import Explained
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


@dataclass(frozen=True)
class WrongLoop:
    """A loop that accumulates a wrong gradient.

    Attributes:
        module, loss, micro_batches, loop: what `check_accumulation` is given.
        reason: the reason that it must find.
        facts: a pattern for the names and numbers in its sentence.
    """

    module: nn.Module
    loss: Any
    micro_batches: list[Any]
    loop: Loop
    reason: Explained
    facts: str = ""


def _mse(loop: Loop, reason: Explained, facts: str = "", micro_batches: list[Any] = RAGGED) -> WrongLoop:
    return WrongLoop(mlp(), F.mse_loss, micro_batches, loop, reason, facts)


SUMS, NORMALISED, DROPPED = nn.MSELoss(reduction="sum"), mlp(nn.BatchNorm1d(4)), mlp(nn.Dropout(0.5))
WRONG = {
    "× K": _mse(not_divided, LoopReason.SUM_FOR_MEAN, r"off by 300 %.*× 4", EQUAL),
    "× K, ragged": _mse(not_divided, LoopReason.SUM_FOR_MEAN, r"× 3"),
    "÷ K": _mse(divided_again, LoopReason.DIVIDED_AGAIN, r"off by 67 %.*÷ 3"),
    "÷ K of a sum": WrongLoop(mlp(), SUMS, RAGGED, sum_divided, LoopReason.MEAN_OF_MEANS, r"÷ 3"),
    "mean of means": _mse(mean_of_means, LoopReason.MEAN_OF_MEANS, r"3 micro-batches"),
    "mean of means, tokens": WrongLoop(
        recurrent(), tokens, sentences((2, 3, 15)), mean_of_means, LoopReason.MEAN_OF_MEANS, r"1/3"
    ),
    "last window lost": _mse(last_window_lost, LoopReason.WINDOW_LOST, r"micro-batch 3 is"),
    "zero_grad inside": _mse(zero_grad_inside, LoopReason.CLEARED_INSIDE, r"micro-batch 3 is"),
    "zero_grad after": _mse(zero_grad_after, LoopReason.NOTHING_LEFT, r"\.grad"),
    "scaled twice": _mse(scaled_twice, LoopReason.SCALED_TWICE, r"share"),
    "means scaled twice": _mse(means_scaled_twice, LoopReason.SCALED_TWICE, r"divided by 3"),
    "scaled twice, equal": _mse(means_scaled_twice, LoopReason.DIVIDED_AGAIN, r"÷ 4: .*, or scaled twice", EQUAL),
    "backward twice": _mse(backward_twice, LoopReason.BACKWARD_TWICE, r"off by 100 %.*× 2"),
    "sum over ranks": _mse(sum_over_ranks, LoopReason.BACKWARD_TWICE, r"× 2: .* 2 ranks", EQUAL),
    "sum over ranks, ragged": _mse(sum_over_ranks, LoopReason.SUM_OVER_RANKS, r"2 ranks"),
    "mean over ranks, ragged": _mse(mean_over_ranks, LoopReason.MEAN_OVER_RANKS, r"2 ranks"),
    "BatchNorm statistics": WrongLoop(NORMALISED, F.mse_loss, RAGGED, by_samples, LoopReason.BATCH_STATISTICS, "loop"),
    "BatchNorm and × K": WrongLoop(
        NORMALISED, F.mse_loss, EQUAL, not_divided, LoopReason.SUM_FOR_MEAN, r"× 4: .*; besides, BatchNorm"
    ),
    "dropout": WrongLoop(
        DROPPED, F.mse_loss, RAGGED, by_samples, LoopReason.RANDOM_MODULE, r"the accumulation is right"
    ),
    "dropout and × K": WrongLoop(DROPPED, F.mse_loss, EQUAL, not_divided, LoopReason.SUM_FOR_MEAN, r"× 4"),
    "loss scale": _mse(scale_not_undone, LoopReason.LOSS_SCALE_LEFT, r"65536"),
    "unscaled": _mse(unscaled, LoopReason.UNSCALED_EACH_TIME, r"1024"),
    "clipped": _mse(clipped, LoopReason.CONSTANT_FACTOR, r"0\.00\d+"),
    "odd weights": _mse(odd_weights, LoopReason.OTHER_WEIGHTS, r"0\.5, 0\.3, 0\.1 .* 0\.4, 0\.4, 0\.2"),
    "middle left out": _mse(middle_left_out, LoopReason.LEFT_OUT, r"micro-batch 2"),
    "one layer": _mse(one_layer_detached, LoopReason.PARAMETERS_MISSED, r"0\.weight"),
    "a step": _mse(with_a_step, LoopReason.PARAMETER_CHANGED, r"closure .* 0\.weight"),
    "single precision": _mse(in_single_precision, LoopReason.IN_SINGLE_PRECISION),
    "an empty one": _mse(mean_of_means, LoopReason.MEAN_OF_MEANS, r"1/3", samples((4, 0, 2), 3)),
    "a masked one": WrongLoop(
        recurrent(), masked_mean, sentences((2, 0, 15)), mean_of_means, LoopReason.NOTHING_COUNTS, r"micro-batch 2"
    ),
    "a mean of means, one masked": WrongLoop(
        recurrent(), tokens, sentences((2, 0, 15)), mean_of_means, LoopReason.MEAN_OF_MEANS
    ),
    "contrastive": WrongLoop(mlp(), contrastive, RAGGED, by_samples, LoopReason.NO_SUM_OVER_SAMPLES),
}
