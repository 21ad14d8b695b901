"""A step of training a GPT and a convolutional net, with every gradient norm recorded, against loops that record
nothing.

Each loop starts from the same parameters and draws the same batches. The optimizer is AdamW, PyTorch's fused one in the
other loops of PyTorch.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import nets
from benchmarks import eager
from benchmarks.measuring import Loop, Row, interleaved, ratios, row
from nets.calculus.architectures import gpt
from nets.torch_internals import TorchDispatchMode
from nets.training.gradients.backpropagation import backpropagate
from nets.training.optimizers import AdamW
from nets.training.replay.recording import Recording, watched

aten = torch.ops.aten

RATE, CONTEXT, TOKENS = 1e-3, 64, 96
LOGGED = "closed form, every norm logged"


class Setting(NamedTuple):
    """One network with its data.

    Attributes:
        name: of the network and the batch.
        made: makes the network.
        peer: the same network of `torch.nn` modules, with the same parameters.
        in_jax: the same network in JAX: (parameters by name, X) → Y.
        samples: what batches are drawn from.
        batch: samples in a batch.
        steps: in each run.
        target: of the ratio to PyTorch's loop.
        ahead: the target of the ratio of a compiled loop to ours.
    """

    name: str
    made: Callable[[], nets.Network]
    peer: Callable[[nets.Network], nn.Module]
    in_jax: Callable[[dict[str, Any], Any], Any]
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

    def in_jax(parameters: dict[str, Any], x: Any) -> Any:
        from benchmarks import jitted

        return jitted.gpt(parameters, x, 4, blocks)

    return Setting(name, lambda: gpt(*sizes), peer, in_jax, samples, batch, steps, target, ahead)


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

    def in_jax(parameters: dict[str, Any], x: Any) -> Any:
        from benchmarks import jitted

        return jitted.convolutional(parameters, x)

    return Setting(
        "conv 1-16-32, 8 × 8 images, batch 64", made, peer, in_jax, nets.Batch(x, classes), 64, 100, "≤ 0.80"
    )


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


def jitted(setting: Setting) -> Loop:
    """One compiled JAX function for the whole step; it may overwrite its parameters."""
    from jax import numpy as jnp

    from benchmarks import jitted as in_jax

    network, batches, count = setting.made(), orders(setting), jnp.zeros(())
    step = in_jax.adamw(setting.in_jax, RATE)
    x, t = (jnp.asarray(part.numpy()) for part in (setting.samples.inputs, setting.samples.targets))
    p, mean, square = (in_jax.from_torch(dict(network.named_parameters())) for _ in range(3))
    mean, square = ({name: jnp.zeros_like(value) for name, value in moment.items()} for moment in (mean, square))

    def loop(steps: int) -> None:
        nonlocal p, mean, square, count
        for indices in itertools.islice(batches, steps):
            chosen = indices.numpy()
            p, mean, square, count = step(p, mean, square, count, x[chosen], t[chosen])
        count.block_until_ready()

    return loop


PRODUCTS = {
    aten.mm.default, aten.addmm.default, aten.convolution.default, aten.convolution_backward.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default,
}  # fmt: skip
"""Operations of PyTorch that multiply matrices."""


class Products(TorchDispatchMode):
    """Keeps every product of matrices that PyTorch computes while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = partial(func, *args, **(kwargs or {}))
        if func in PRODUCTS:
            self.calls.append(call)
        return call()


def products_alone(setting: Setting) -> Loop:
    """Only the products of matrices in a step of PyTorch's loop: no network needs fewer."""
    module, batch = setting.peer(setting.made()), setting.samples.take(slice(0, setting.batch))
    with Products() as products:
        eager.tokens_loss(module(batch.inputs), batch.targets).backward()

    @torch.no_grad()
    def loop(steps: int) -> None:
        for _ in range(steps):
            for call in products.calls:
                call()

    return loop


def memory(name: str, number: int) -> int:
    """Kilobytes by which the resident memory of a new process grows at most in three steps of a loop."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (name, number))


def _growth(name: str, number: int) -> int:
    torch.set_num_threads(1)
    loop = {"ours": ours, "plain": plain}[name](next(itertools.islice(settings(), number, None)))
    # Linux lets a process set its peak back to what it has now: the peak while packages are imported is higher.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    loop(3)
    return _peak() - before


def _peak() -> int:
    """The most resident memory of this process, in kilobytes."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def copies(setting: Setting) -> str:
    """What the recording of a step copies, in words."""
    network, batch = setting.made(), setting.samples.take(slice(0, setting.batch))
    copied = Counter(Recording(watched(lambda: backpropagate(network, nets.CrossEntropy(), batch))[0]).copying)
    return ", ".join(f"{count} of {name}" for name, count in copied.items()) or "no result"


def rows(runs: int) -> Iterator[Row]:
    """Each network with one thread and with two."""
    for number, setting in enumerate(settings()):
        print(f"{setting.name}: a step of ours copies {copies(setting)}", flush=True)
        grown = [memory("ours", number) / memory("plain", number) for _ in range(3)]
        yield row(f"peak memory: {LOGGED} ÷ PyTorch, nothing logged", setting.name, grown, "≤ 1")
        for threads in (1, 2):
            torch.set_num_threads(threads)
            loops = {"ours": ours(setting), "plain": plain(setting), "alone": products_alone(setting)}
            loops |= {"compile": plain(setting, compiled=True), "jax": jitted(setting)}
            name = f"{setting.name}, {threads} thread{'s' * (threads > 1)}"
            yield from claims(interleaved(loops, setting.steps, runs), setting, name)


def claims(seconds: dict[str, list[float]], setting: Setting, name: str) -> Iterator[Row]:
    """The claims about the loops that were run."""
    alone = median(ratios(seconds, "alone", "plain"))
    yield row(
        f"{LOGGED} ÷ PyTorch with fused attention and AdamW, nothing logged", name, ratios(seconds, "ours", "plain"),
        setting.target, f"the products of matrices alone take {alone:.2f} of PyTorch's time",
    )  # fmt: skip
    share = median(ratios(seconds, "alone", "ours"))
    why = f"the products of matrices alone, by PyTorch, take {share:.2f} of the time of ours"
    for peer, label in (("compile", "torch.compile"), ("jax", "JAX jit (always all threads)")):
        yield row(f"{label}, nothing logged ÷ {LOGGED}", name, ratios(seconds, peer, "ours"), setting.ahead, why)
