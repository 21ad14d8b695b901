"""Wrong loops of each kind that once passed or was called something else, with what is said of them: made anew for each seed."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.odd_batches import (
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


# Clipped in the midst.


def clipped_each_time(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        backward(loss, module(x), target, len(x) / total)
        nn.utils.clip_grad_norm_(module.parameters(), 0.1)


def clipped_alone(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """Each micro-batch's own gradient is clipped, and their mean taken, as for differential privacy."""
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


# Wrong where the micro-batches are not put together, the loss draws, or is in float32.


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
    yield Kind(
        "an optimizer in the backward", optimizer_in_backward(0.0), "nothing is left in .grad: the post-accumulate-grad hook"
    )
    yield Kind("one that steps", optimizer_in_backward(0.1), "stateful: the closure moved ")
    yield Kind("a hook that clips", clipping_hook, r"wrong accumulation|clipped at each micro-batch")
    yield Kind("a hook that doubles", doubling_hook, "its micro-batches weigh 3.2, 1.6, 0.4 where 0.4, 0.4, 0.2 is right")
    for loop in (clipped_each_time, clipped_alone):
        yield Kind(loop.__name__, lambda g, loop=loop: (linear(g), F.mse_loss, pairs(g), loop), "clipped at each .* norm of 0.1: ")
    yield Kind("clipped in value", lambda g: (linear(g), F.mse_loss, pairs(g), clipped_in_value), "clipped at each .* up to 0.02: ")
    six = (3, 3, 3, 3, 3, 3)
    for ranks, rank in ((2, 0), (2, 1), (3, 1)):
        loop = one_rank(rank, ranks)
        said = f"never summed over ranks: only the micro-batches of one of {ranks} ranks"
        yield Kind(f"rank {rank} of {ranks}", lambda g, loop=loop: (linear(g), F.mse_loss, pairs(g, six), loop), said)
    made = [first_rank_in_no_sync]
    yield Kind(
        "no_sync", lambda g: (linear(g), F.mse_loss, pairs(g, (4, 3, 2, 5)), made[0]), r"never summed over ranks: .* \(1 and 3\)"
    )
    yield Kind("three by four", lambda g: (linear(g), F.mse_loss, pairs(g, (3, 3, 3)), divided_by(4)), "leftover .* divided by 4")
    yield Kind(
        "two ragged by eight", lambda g: (linear(g), F.mse_loss, pairs(g, (3, 2)), divided_by(8)), "leftover .* divided by 8"
    )
    yield Kind(
        "two after four", lambda g: (linear(g), F.mse_loss, pairs(g, six), leftover), "leftover micro-batches divided by 4: "
    )
    yield Kind("a module that returns its loss", contrasted(None), "the loss is no sum over the samples")
    yield Kind("its loop", contrasted(by_names), "the loss is no sum over the samples")
    yield Kind("a root that is returned", rooted, "its micro-batches weigh 0.4, 0.4, 0.2 where ")
    yield Kind("a variance", lambda g: (linear(g), spread, pairs(g), by_samples), "the loss is no sum over the samples")
    yield Kind("packed, equally", lambda g: (drawn(Packed(), g), F.cross_entropy, packed(g), equally), "mean of means")
    yield Kind("packed, × K", lambda g: (drawn(Packed(), g), F.cross_entropy, packed(g), undivided), "× 3: a sum")
    yield Kind("documents, × K", lambda g: (drawn(Documents(), g), F.cross_entropy, documents(g), undivided), "× 3: a sum")
    yield Kind("graphs, equally", lambda g: (drawn(Graphs(), g), F.mse_loss, graphs(g), equally), "mean of means")
    counts, sides = (3, 1, 2), (2, 3)
    yield Kind("images, equally", lambda g: (drawn(Detector(), g), F.mse_loss, images(g, counts, sides), equally), "mean of means")
    yield Kind("images, ÷ K", lambda g: (drawn(Detector(), g), F.mse_loss, images(g, counts, sides), again), "÷ 3")
    for loss in (denoising, one_time):
        yield Kind(f"{loss.__name__}, equally", lambda g, loss=loss: (linear(g), loss, pairs(g), mean_of_means), "mean of means")
        yield Kind(
            f"{loss.__name__}, lost", lambda g, loss=loss: (linear(g), loss, pairs(g), last_window_lost), "micro-batch 3 is le"
        )
    yield Kind("float32, equally", lambda g: (words(g), in_float32, classes(g), equally), "mean of means")
    yield Kind("float32, ÷ K", lambda g: (words(g), in_float32, classes(g), divided_again), "÷ 3")
    yield Kind("a loop in float32, × 3", lambda g: (words(g), F.cross_entropy, classes(g), undivided_in_float32), "× 3")
    yield Kind(
        "a loss scale that is left", lambda g: (linear(g), F.mse_loss, pairs(g), scaled_and_left), "loss scale that is not un"
    )


WRONG_KINDS = list(_rows())
