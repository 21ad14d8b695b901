"""Wrong loops that once passed, or were taken for another mistake, drawn anew for each seed."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.records.loop_reason import LoopReason
from tests.odd_batches import (
    SIZES,
    Detector,
    Documents,
    Given,
    Graphs,
    Kind,
    Packed,
    documents,
    drawn,
    graphs,
    images,
    linear,
    packed,
    pairs,
)
from tests.right_loops import Loop, backward, by_samples
from tests.right_loops_by_kind import classes, denoising, in_float32, loop_in_float32, one_time, words
from tests.stateful_loops import stateful
from tests.wrong_loops import divided_again, last_window_lost, mean_of_means

# Hooks and optimizers that act in the backward pass.


def optimizer_in_backward(rate: float) -> Callable[[torch.Generator], Given]:
    def make(g: torch.Generator) -> Given:
        module = linear(g)
        optimizers = {p: torch.optim.SGD([p], lr=rate) for p in module.parameters()}

        def step(parameter: Tensor) -> None:
            optimizers[parameter].step()  # type: ignore[index]
            optimizers[parameter].zero_grad()  # type: ignore[index]

        for parameter in module.parameters():
            parameter.register_post_accumulate_grad_hook(step)
        return module, F.mse_loss, pairs(g), by_samples

    return make


def clipping_hook(g: torch.Generator) -> Given:
    module = linear(g)
    for parameter in module.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: nn.utils.clip_grad_value_([p], 0.05))
    return module, F.mse_loss, pairs(g), by_samples


def doubling_hook(g: torch.Generator) -> Given:
    module = linear(g)

    def double(parameter: Tensor) -> None:
        parameter.grad.mul_(2)  # type: ignore[union-attr]

    for parameter in module.parameters():
        parameter.register_post_accumulate_grad_hook(double)
    return module, F.mse_loss, pairs(g), by_samples


# Clipped before the end of the window.


def clipped_each_time(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        backward(loss, module(x), target, len(x) / total)
        nn.utils.clip_grad_norm_(module.parameters(), 0.1)


def clipped_alone(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """The gradient of each micro-batch is clipped and their mean is taken, as in differential privacy."""
    kept = [torch.zeros_like(p) for p in module.parameters()]
    for x, target in micro_batches:
        module.zero_grad()
        backward(loss, module(x), target, 1 / len(micro_batches))
        nn.utils.clip_grad_norm_(module.parameters(), 0.1)
        for total, parameter in zip(kept, module.parameters(), strict=True):
            total += parameter.grad
    for total, parameter in zip(kept, module.parameters(), strict=True):
        parameter.grad = total


def clipped_in_value(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for x, target in micro_batches:
        backward(loss, module(x), target, 1 / len(micro_batches))
        nn.utils.clip_grad_value_(module.parameters(), 0.02)


# Ranks and windows.


def one_rank(rank: int, ranks: int) -> Loop:
    def loop(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        by_samples(module, loss, micro_batches[rank::ranks])

    return loop


def first_rank_in_no_sync(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """The other rank's share never arrives."""
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches[::2]:
        backward(loss, module(x), target, len(x) / total)


def divided_by(full: int) -> Loop:
    def loop(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        for x, target in micro_batches:
            backward(loss, module(x), target, 1 / full)

    return loop


def leftover(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """A step after every four; the last two are divided by four as well."""
    for number, (x, target) in enumerate(micro_batches):
        if number % 4 == 0:
            module.zero_grad()
        backward(loss, module(x), target, 1 / 4)


# Losses that are no sum.


class Contrasting(nn.Module):
    """Returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        q, k = F.normalize(self.query(a), dim=-1), F.normalize(self.key(b), dim=-1)
        return {"loss": F.cross_entropy(q @ k.T / 0.1, torch.arange(len(q)))}


class Returning(nn.Module):
    """Returns the loss of its output, alone."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(self.linear(x), target).sqrt()


def loss_of(out: Any, _: Any) -> Tensor:
    return out["loss"] if isinstance(out, dict) else out


def contrasted(loop: Loop | None) -> Callable[[torch.Generator], Given]:
    def make(g: torch.Generator) -> Given:
        batches = [({"a": x, "b": x.roll(1, 1)}, x) for x, _ in pairs(g)]
        return drawn(Contrasting(), g), loss_of, batches, loop

    return make


def by_names(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for given, target in micro_batches:
        backward(loss, module(**given), target, 1 / len(micro_batches))


def rooted(g: torch.Generator) -> Given:
    def loop(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        for given, target in micro_batches:
            backward(loss, module(*given), target, len(target) / 10)

    return drawn(Returning(), g), loss_of, [((x, t), t) for x, t in pairs(g)], loop


def spread(y: Tensor, target: Tensor) -> Tensor:
    """The variance over the batch is no sum over the samples."""
    return F.mse_loss(y, target) + y.var(0).mean()


# Wrong weights where the micro-batches cannot be concatenated, or the loss is random or in float32.


def named(factor: Callable[[Any, list[Any]], float]) -> Loop:
    def loop(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        for given, target in micro_batches:
            y = module(**given) if isinstance(given, dict) else module(given)
            backward(loss, y, target, factor(target, micro_batches))

    return loop


equally = named(lambda _, batches: 1 / len(batches))
undivided = named(lambda _, batches: 1.0)
again = named(lambda target, batches: len(target) / sum(len(t) for _, t in batches) / len(batches))


def undivided_in_float32(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    loop_in_float32(module, lambda y, target: 3 * loss(y, target), micro_batches)


def scaled_and_left(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        scaler.scale(loss(module(x), target) * (len(x) / total)).backward()


def _rows() -> Iterator[Kind]:
    yield from stateful()
    yield from _hooks()
    yield from _clipped()
    yield from _windows_and_ranks()
    yield from _not_separable()
    yield from _counted_wrongly()


def _of(
    loop: Loop | None, sizes: tuple[int, ...] = SIZES, loss: Any = F.mse_loss
) -> Callable[[torch.Generator], Given]:
    return lambda g: (linear(g), loss, pairs(g, sizes), loop)


def _hooks() -> Iterator[Kind]:
    taken, changed = LoopReason.TAKEN_BY_A_HOOK, LoopReason.PARAMETER_CHANGED
    yield Kind("an optimizer in the backward", optimizer_in_backward(0.0), "weight", taken)
    yield Kind("one that steps", optimizer_in_backward(0.1), "the closure", changed)
    yield Kind("a hook that clips", clipping_hook, "0.05", LoopReason.CLIPPED_EACH_TIME)
    yield Kind("a hook that doubles", doubling_hook, "3.2, 1.6, 0.4 .* 0.4, 0.4, 0.2", LoopReason.OTHER_WEIGHTS)


def _clipped() -> Iterator[Kind]:
    for loop in (clipped_each_time, clipped_alone):
        yield Kind(loop.__name__, _of(loop), "norm of 0.1", LoopReason.CLIPPED_EACH_TIME)
    yield Kind("clipped in value", _of(clipped_in_value), "0.02", LoopReason.CLIPPED_EACH_TIME)


def _windows_and_ranks() -> Iterator[Kind]:
    six = (3, 3, 3, 3, 3, 3)
    for ranks, rank in ((2, 0), (2, 1), (3, 1)):
        yield Kind(f"rank {rank} of {ranks}", _of(one_rank(rank, ranks), six), f"{ranks} ranks", LoopReason.ONE_RANK)
    yield Kind("no_sync", _of(first_rank_in_no_sync, (4, 3, 2, 5)), r"\(1 and 3\)", LoopReason.ONE_RANK)
    yield Kind("three by four", _of(divided_by(4), (3, 3, 3)), "divided by 4", LoopReason.LEFTOVER)
    yield Kind("two ragged by eight", _of(divided_by(8), (3, 2)), "divided by 8", LoopReason.LEFTOVER)
    yield Kind("two after four", _of(leftover, six), "divided by 4", LoopReason.LEFTOVER)


def _not_separable() -> Iterator[Kind]:
    no_sum = LoopReason.NO_SUM_OVER_SAMPLES
    yield Kind("a module that returns its loss", contrasted(None), reason=no_sum)
    yield Kind("its loop", contrasted(by_names), reason=no_sum)
    yield Kind("a root that is returned", rooted, "0.4, 0.4, 0.2 where ", LoopReason.OTHER_WEIGHTS)
    yield Kind("a variance", _of(by_samples, loss=spread), reason=no_sum)


def _counted_wrongly() -> Iterator[Kind]:
    means, total, again_divided = LoopReason.MEAN_OF_MEANS, LoopReason.SUM_FOR_MEAN, LoopReason.DIVIDED_AGAIN
    entropy, mse = F.cross_entropy, F.mse_loss
    yield Kind("packed, equally", lambda g: (drawn(Packed(), g), entropy, packed(g), equally), "1/3", means)
    yield Kind("packed, × K", lambda g: (drawn(Packed(), g), entropy, packed(g), undivided), "× 3", total)
    yield Kind("documents, × K", lambda g: (drawn(Documents(), g), entropy, documents(g), undivided), "× 3", total)
    yield Kind("graphs, equally", lambda g: (drawn(Graphs(), g), mse, graphs(g), equally), "1/3", means)
    shapes = (3, 1, 2), (2, 3)
    yield Kind("images, equally", lambda g: (drawn(Detector(), g), mse, images(g, *shapes), equally), "1/3", means)
    yield Kind("images, ÷ K", lambda g: (drawn(Detector(), g), mse, images(g, *shapes), again), "÷ 3", again_divided)
    for loss in (denoising, one_time):
        yield Kind(f"{loss.__name__}, equally", _of(mean_of_means, loss=loss), "1/3", means)
        lost = LoopReason.WINDOW_LOST
        yield Kind(f"{loss.__name__}, lost", _of(last_window_lost, loss=loss), "micro-batch 3 is", lost)
    yield Kind("float32, equally", lambda g: (words(g), in_float32, classes(g), equally), "1/3", means)
    yield Kind("float32, ÷ K", lambda g: (words(g), in_float32, classes(g), divided_again), "÷ 3", again_divided)
    yield Kind("a loop in float32, × 3", lambda g: (words(g), entropy, classes(g), undivided_in_float32), "× 3", total)
    yield Kind("a loss scale that is left", _of(scaled_and_left), "4096", LoopReason.LOSS_SCALE_LEFT)


WRONG_KINDS = list(_rows())
