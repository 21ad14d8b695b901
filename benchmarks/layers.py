"""A step of training a GPT and a convolutional net, with every gradient norm recorded, against loops that record
nothing.

Each loop starts from the same parameters and draws the same batches. The optimizer is AdamW, PyTorch's fused one in the
other loops.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

import nets
from benchmarks import eager
from benchmarks.measuring import Loop, Row, interleaved, ratios, row
from nets.calculus.architectures import gpt
from nets.training.optimizers import AdamW

RATE, CONTEXT, TOKENS = 1e-3, 64, 96
LOGGED = "closed form, every norm logged"


class Setting(NamedTuple):
    """One network with its data.

    Attributes:
        name: of the network and the batch.
        made: makes the network.
        peer: the same network of `torch.nn` modules, with the same parameters.
        samples: what batches are drawn from.
        batch: samples in a batch.
        steps: in each run.
        target: of the ratio to PyTorch's loop.
        ahead: the target of the ratio of a compiled loop to ours.
    """

    name: str
    made: Callable[[], nets.Network]
    peer: Callable[[nets.Network], nn.Module]
    samples: nets.Batch
    batch: int
    steps: int
    target: str
    ahead: str = "stated"


def language_model(blocks: int, width: int, batch: int, steps: int, target: str, ahead: str = "stated") -> Setting:
    """A GPT on sequences of random tokens."""
    sizes = (TOKENS, CONTEXT, width, 4, blocks)
    drawn = torch.randint(TOKENS, (1024, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    samples = nets.Batch(drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous())

    def peer(network: nets.Network) -> nn.Module:
        return eager.GPT(*sizes).load(dict(network.named_parameters()))

    name = f"GPT, {blocks} blocks, width {width}, {CONTEXT} tokens, batch {batch}"
    return Setting(name, lambda: gpt(*sizes), peer, samples, batch, steps, target, ahead)


def images() -> Setting:
    """A convolutional net on images of 8 × 8 random numbers in 10 classes."""
    generator = torch.Generator().manual_seed(0)
    x, classes = torch.rand(1792, 1, 8, 8, generator=generator), torch.randint(10, (1792,), generator=generator)

    def made() -> nets.Network:
        torch.manual_seed(0)
        return nets.Network.from_torch(eager.convolutional())

    def peer(network: nets.Network) -> nn.Module:
        module = eager.convolutional()
        module.load_state_dict(network.state_dict())
        return module

    return Setting("conv 1-16-32, 8 × 8 images, batch 64", made, peer, nets.Batch(x, classes), 64, 100, "≤ 0.80")


def settings() -> Iterator[Setting]:
    yield language_model(2, 64, 8, 20, "≤ 0.65", "≥ 1")
    yield language_model(4, 128, 16, 5, "≤ 0.80")
    yield language_model(6, 256, 16, 2, "≤ 0.85")
    yield images()


def ours(setting: Setting) -> Loop:
    """`nets.descend`, with the norms of every gradient, parameter and change in its records."""
    steps_of = nets.descend(
        setting.made(), setting.samples, loss=nets.CrossEntropy(), rule=AdamW(RATE), steps=10**9,
        batch_size=setting.batch,
    )  # fmt: skip

    def loop(steps: int) -> None:
        for _ in itertools.islice(steps_of, steps):
            pass

    return loop


def orders(setting: Setting) -> Iterator[Tensor]:
    """The indices of each batch, in a new order for each pass, as `nets.descend` draws them with seed 0."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield from torch.randperm(len(setting.samples), generator=generator).split(setting.batch)


def plain(setting: Setting, compiled: bool = False) -> Loop:
    """The loop of a tutorial with the fastest that PyTorch has: fused attention and a fused optimizer."""
    module, batches, (x, t) = (
        setting.peer(setting.made()),
        orders(setting),
        (setting.samples.inputs, setting.samples.targets),
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, fused=True)

    def loss_of(x: Tensor, t: Tensor) -> Tensor:
        return eager.tokens_loss(module(x), t)

    value: Callable[[Tensor, Tensor], Tensor] = torch.compile(loss_of) if compiled else loss_of

    def loop(steps: int) -> None:
        for indices in itertools.islice(batches, steps):
            optimizer.zero_grad()
            value(x.index_select(0, indices), t.index_select(0, indices)).backward()
            optimizer.step()

    return loop


def rows(runs: int) -> Iterator[Row]:
    """Each network with one thread and with two."""
    for setting, threads in itertools.product(settings(), (1, 2)):
        torch.set_num_threads(threads)
        name = f"{setting.name}, {threads} thread{'s' * (threads > 1)}"
        loops = {"ours": ours(setting), "plain": plain(setting), "compile": plain(setting, compiled=True)}
        seconds = interleaved(loops, setting.steps, runs)
        yield row(
            f"{LOGGED} ÷ PyTorch with fused attention and AdamW, nothing logged", name,
            ratios(seconds, "ours", "plain"), setting.target,
        )  # fmt: skip
        yield row(f"torch.compile, nothing logged ÷ {LOGGED}", name, ratios(seconds, "compile", "ours"), setting.ahead)
