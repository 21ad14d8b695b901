"""Right loops that are easily taken for wrong ones, drawn anew for each seed."""

import functools
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
    OfSequences,
    Packed,
    Padded,
    documents,
    drawn,
    graphs,
    images,
    linear,
    packed,
    padded,
    pairs,
    sequences,
)
from tests.right_loops import Loop, backward, by_samples


def by_targets(
    module: nn.Module, loss: Any, micro_batches: list[Any], called: Callable[[Any], Any] | None = None
) -> None:
    """Each micro-batch by its share of the targets."""
    total = sum(len(target) for _, target in micro_batches)
    for given, target in micro_batches:
        y = called(given) if called else module(**given) if isinstance(given, dict) else module(given)
        backward(loss, y, target, len(target) / total)


# Float32 inside.


def in_float32(y: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(y.float(), target)


def classes(g: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randint(0, 50, (n,), generator=g), torch.randint(0, 50, (n,), generator=g)) for n in (16, 16, 8)]


def words(g: torch.Generator) -> nn.Module:
    return drawn(nn.Sequential(nn.Embedding(50, 16), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 50)), g)


def loop_in_float32(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    by_targets(module, loss, micro_batches, lambda x: module(x).float())


class NormalisedInFloat32(nn.Module):
    """Computes its norm in float32 whatever the input, as many language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        y: Tensor = self.second(F.layer_norm(h.float(), (6,)).to(h.dtype))
        return y


# A loss that draws.


def denoising(y: Tensor, target: Tensor) -> Tensor:
    return (y - target - 0.3 * torch.randn_like(y)).square().mean()


def time_steps(y: Tensor, target: Tensor) -> Tensor:
    """A time for each sample, as in a diffusion."""
    t = torch.rand(len(y), 1, dtype=y.dtype)
    return (t * (y - target)).square().sum(-1).mean()


def one_time(y: Tensor, target: Tensor) -> Tensor:
    """One time for the whole batch."""
    return (torch.rand((), dtype=y.dtype) + 0.5) * F.mse_loss(y, target)


def masked_at_random(y: Tensor, target: Tensor) -> Tensor:
    """A mean over a random part of the samples."""
    kept = torch.rand(len(y)) < 0.7
    return (y - target).square().sum(-1)[kept].mean()


def by_kept(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """A sum over the micro-batches, which is right for a loss that sums."""
    for x, target in micro_batches:
        backward(loss, module(x), target)


def noisy_sum(y: Tensor, target: Tensor) -> Tensor:
    return (y - target - torch.empty_like(y).normal_()).square().sum()


def own_generator(g: torch.Generator) -> Given:
    source = torch.Generator().manual_seed(7)

    def loss(y: Tensor, target: Tensor) -> Tensor:
        return (y - target - torch.randn(y.shape, generator=source, dtype=y.dtype)).square().mean()

    return linear(g), loss, pairs(g), by_samples


# Closures over the module.


def with_decay(g: torch.Generator) -> Given:
    module = linear(g)

    def loss(y: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(y, target) + 0.01 * sum(p.square().sum() for p in module.parameters())

    return module, loss, pairs(g), by_samples


def decay_of(y: Tensor, target: Tensor, module: nn.Module) -> Tensor:
    return F.mse_loss(y, target) + 0.01 * next(module.parameters()).abs().sum()


def with_partial_decay(g: torch.Generator) -> Given:
    module = linear(g)
    return module, functools.partial(decay_of, module=module), pairs(g), by_samples


class WithOptimizer:
    """A trainer that uses the model and the optimizer that it keeps."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.optimizer = module, torch.optim.Adam(module.parameters())

    def __call__(self, module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        self.optimizer.zero_grad()
        by_samples(self.module, loss, micro_batches)


def with_optimizer(g: torch.Generator) -> Given:
    module = linear(g)
    return module, F.mse_loss, pairs(g), WithOptimizer(module)


# Harmless state.


class Counted(nn.Module):
    """Counts its calls and remembers the last output, and uses neither."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls, self.last = nn.Linear(4, 2), 0, None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.linear(x)
        self.last = y.detach()
        return y


class Logged:
    """A loss that keeps its values."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        value = F.mse_loss(y, target)
        self.values.append(float(value.detach()))
        return value


def with_counting_hook(g: torch.Generator) -> Given:
    module, seen = linear(g), list[float]()
    for parameter in module.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: seen.append(float(p.grad.norm())))
    return module, F.mse_loss, pairs(g), by_samples


def with_masking_hook(g: torch.Generator) -> Given:
    """Some entries are frozen by a hook that is linear in the gradient."""
    module = linear(g)
    mask = (torch.rand(2, 4, generator=g) < 0.5).double()
    module.weight.register_hook(lambda gradient: gradient * mask)
    return module, F.mse_loss, pairs(g), by_samples


def compiled(g: torch.Generator) -> Given:
    module = linear(g)
    module.compile(backend="eager")
    return module, F.mse_loss, pairs(g), by_samples


def scaled(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    """A loss scale that is undone."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    total = sum(len(x) for x, _ in micro_batches)
    for x, target in micro_batches:
        scaler.scale(loss(module(x), target) * (len(x) / total)).backward()
    scaler.unscale_(optimizer)


def shared(
    loop: Loop, loss: Any, module: Callable[[], nn.Module], batches: Callable[[torch.Generator], list[Any]]
) -> Any:
    return lambda g: (drawn(module(), g), loss, batches(g), loop)


def _rows() -> Iterator[Kind]:
    yield Kind("the loop in float32", lambda g: (words(g), F.cross_entropy, classes(g), loop_in_float32))
    yield Kind("the loss in float32", lambda g: (words(g), in_float32, classes(g), by_targets))
    yield Kind("a norm in float32", shared(by_samples, F.mse_loss, NormalisedInFloat32, pairs))
    yield Kind(
        "a loss that draws noise",
        lambda g: (linear(g), denoising, pairs(g), by_samples),
        "the loss draws random numbers",
    )
    yield Kind(
        "a loss that draws times",
        lambda g: (linear(g), time_steps, pairs(g), by_samples),
        "the loss draws random numbers",
    )
    yield Kind(
        "a loss that draws one time",
        lambda g: (linear(g), one_time, pairs(g), by_samples),
        "each micro-batch draws its own",
    )
    yield Kind("a sum that draws", lambda g: (linear(g), noisy_sum, pairs(g), by_kept), "weigh 1, 1, 1")
    yield Kind("a loss with a generator", own_generator, "the loss draws random numbers")
    yield Kind(
        "no loop, a loss that draws", lambda g: (linear(g), denoising, pairs(g), None), "the loss draws random numbers"
    )
    yield Kind(
        "no loop, a mask that is drawn", lambda g: (linear(g), masked_at_random, pairs(g), None), "the loss draws"
    )
    yield Kind("a loss over the module", with_decay)
    yield Kind("a partial over the module", with_partial_decay)
    yield Kind("a loop that keeps an optimizer", with_optimizer)
    yield Kind(
        "packed sequences", shared(by_targets, F.cross_entropy, Packed, packed), "not concatenated .* first axis"
    )
    yield Kind("documents", shared(by_targets, F.cross_entropy, Documents, documents), "name groups")
    yield Kind("graphs", shared(by_targets, F.mse_loss, Graphs, graphs), "not concatenated")
    yield Kind("images", shared(by_targets, F.mse_loss, Detector, lambda g: images(g, (3, 3), (2,))), "weigh 0.5, 0.5")
    yield Kind(
        "more and fewer images",
        shared(by_targets, F.mse_loss, Detector, lambda g: images(g, (3, 1, 2), (2,))),
        "3, 1, 2 s",
    )
    yield Kind("images of many sizes", shared(by_targets, F.mse_loss, Detector, lambda g: images(g, (3, 3), (2, 3, 5))))
    yield Kind(
        "a PackedSequence", shared(by_targets, F.mse_loss, OfSequences, sequences), "not concatenated .* PackedSequence"
    )
    yield Kind(
        "padded to the longest",
        shared(by_targets, F.mse_loss, Padded, padded),
        r"not concatenated .*\(4, 3, 4\) and \(3, 5, 4",
    )
    yield Kind("an unused counter", shared(by_samples, F.mse_loss, Counted, pairs), r"module\.calls")
    yield Kind("a loss that keeps its values", lambda g: (linear(g), Logged(), pairs(g), by_samples), r"loss\.values")
    yield Kind("a hook that counts", with_counting_hook)
    yield Kind("a hook that masks", with_masking_hook)
    yield Kind("compiled", compiled)
    yield Kind("a loss scale that is undone", lambda g: (linear(g), F.mse_loss, pairs(g), scaled))


RIGHT_KINDS = list(_rows())
