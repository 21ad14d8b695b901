"""Losses, modules and loops with state that each call changes, drawn anew for each seed."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.records.loop_reason import LoopReason
from tests.odd_batches import Given, Kind, drawn, linear, pairs
from tests.right_loops import by_samples
from tests.wrong_loops import not_divided, zero_grad_inside


class Centred(nn.Module):
    """The centre is a buffer of the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(2))

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        value = (y - target - self.centre).square().mean()
        self.centre = 0.9 * self.centre + 0.1 * target.mean(0)
        return value


class Annealed:
    """The temperature falls with a counter that is a plain number."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return F.mse_loss(y / (1 + self.calls), target)


class Queued:
    """A queue of earlier targets."""

    def __init__(self) -> None:
        self.queue: list[Tensor] = []

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        keys = torch.cat([target, *self.queue])
        self.queue = [*self.queue, target][-2:]
        return (y @ keys.T).logsumexp(1).mean()


class Stepped(nn.Module):
    """A plain counter of the module scales its output."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.steps = nn.Linear(4, 2), 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        y: Tensor = self.linear(x) * 0.5**self.steps
        return y


class Remembering(nn.Module):
    """Adds the mean of the last call's inputs, which it keeps in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.memory = nn.Linear(4, 2), [torch.zeros(4)]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x + self.memory[-1])
        self.memory.append(x.mean(0).detach())
        return y


class OfTheClass(nn.Module):
    """The counter belongs to the class."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        OfTheClass.calls += 1
        y: Tensor = self.linear(x) / OfTheClass.calls
        return y


STEP = [0]


def scheduled(y: Tensor, target: Tensor) -> Tensor:
    """The counter is a global one."""
    STEP[0] += 1
    return F.mse_loss(y, target) / STEP[0]


def remembered(y: Tensor, target: Tensor, seen: dict[str, float]) -> Tensor:
    seen["mean"] = 0.5 * seen.get("mean", 0.0) + float(target.mean())
    return (y - target - seen["mean"]).square().mean()


def with_a_cell(g: torch.Generator) -> Given:
    average = torch.zeros(2)

    def loss(y: Tensor, target: Tensor) -> Tensor:
        nonlocal average
        average = (0.9 * average + 0.1 * target.mean(0)).to(y.dtype)
        return (y - target - average).square().mean()

    return linear(g), loss, pairs(g), by_samples


def with_a_teacher(g: torch.Generator) -> Given:
    """A teacher that follows the module by a moving average, once at each call of the loss."""
    module, teacher = linear(g), linear(g)

    def loss(y: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            for own, other in zip(teacher.parameters(), module.parameters(), strict=True):
                own.lerp_(other, 0.1)
        return F.mse_loss(y, target) + (y - teacher.bias.detach()).square().mean()

    return module, loss, pairs(g), by_samples


def with_an_iterator(g: torch.Generator) -> Given:
    """State that cannot be put back: a generator of numbers."""
    factors = (1.0 / n for n in range(1, 10_000))
    return linear(g), lambda y, target: next(factors) * F.mse_loss(y, target), pairs(g), by_samples


class Kept:
    """Adds up the gradients of all windows, and never clears them."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def __call__(self, module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        module.zero_grad()
        by_samples(module, loss, micro_batches)
        for name, parameter in module.named_parameters():
            self.kept[name] = self.kept.get(name, 0) + parameter.grad
            parameter.grad = self.kept[name].clone()


class Late:
    """Leaves the gradient of the previous window."""

    def __init__(self) -> None:
        self.before: list[Tensor] = []

    def __call__(self, module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        by_samples(module, loss, micro_batches)
        found = [p.grad.clone() for p in module.parameters()]  # type: ignore[union-attr]
        for parameter, gradient in zip(
            module.parameters(), self.before or [torch.zeros_like(x) for x in found], strict=True
        ):
            parameter.grad = gradient
        self.before = found


class Stale:
    """Starts from the gradient of an earlier window."""

    def __init__(self, module: nn.Module, g: torch.Generator) -> None:
        self.left = [torch.randn(p.shape, generator=g) for p in module.parameters()]

    def __call__(self, module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        for parameter, gradient in zip(module.parameters(), self.left, strict=True):
            parameter.grad = gradient.clone()
        by_samples(module, loss, micro_batches)


def stale(g: torch.Generator) -> Given:
    module = linear(g)
    return module, F.mse_loss, pairs(g), Stale(module, g)


def stateful() -> Iterator[Kind]:
    losses: dict[str, tuple[Callable[[], Any], str]] = {
        "a centre in the loss": (Centred, r"loss\.centre"),
        "a counter in the loss": (Annealed, r"loss\.calls"),
        "a queue in the loss": (Queued, r"loss\.queue"),
        "a global counter": (lambda: scheduled, r"STEP"),
        "a partial that remembers": (lambda: functools.partial(remembered, seen={}), r"mean"),
    }
    matters = LoopReason.STATE_MATTERS
    for name, (loss, path) in losses.items():
        yield Kind(name, lambda g, loss=loss: (linear(g), loss(), pairs(g), by_samples), path, matters)
        times = f"{path}.* besides, .* × 3"
        yield Kind(f"{name}, × K", lambda g, loss=loss: (linear(g), loss(), pairs(g), not_divided), times, matters)
        yield Kind(f"{name}, no loop", lambda g, loss=loss: (linear(g), loss(), pairs(g), None), path, matters)
    modules: dict[str, tuple[Callable[[], nn.Module], str]] = {
        "a counter in the module": (Stepped, r"module\.steps"),
        "a list in the module": (Remembering, r"module\.memory"),
        "a counter in the class": (OfTheClass, r"OfTheClass\.calls"),
    }
    for name, (module, path) in modules.items():
        yield Kind(name, lambda g, module=module: (drawn(module(), g), F.mse_loss, pairs(g), by_samples), path, matters)
        make = functools.partial(
            lambda g, module: (drawn(module(), g), F.mse_loss, pairs(g), zero_grad_inside), module=module
        )
        yield Kind(f"{name}, K", make, path, matters)
    yield Kind("a variable of the loss", with_a_cell, "average", matters)
    yield Kind("a teacher", with_a_teacher, r"teacher\.bias", matters)
    # No mistake is named besides, since the gradient of no micro-batch is known.
    yield Kind("an iterator", with_an_iterator, r"at each call\)", LoopReason.NOT_REPRODUCIBLE)
    keeping, late = LoopReason.EARLIER_WINDOW_ADDED, LoopReason.EARLIER_WINDOW
    yield Kind("a loop that keeps", lambda g: (linear(g), F.mse_loss, pairs(g), Kept()), r"closure\.kept", keeping)
    yield Kind("a loop that is late", lambda g: (linear(g), F.mse_loss, pairs(g), Late()), r"closure\.before", late)
    yield Kind("stale gradients", stale, "earlier window", LoopReason.OTHER_SOURCES)
