"""A step of gradient descent with every gradient norm written to TensorBoard, against loops that write nothing.

The network is 64-h-10 with Tanh, the loss the mean squared error, a batch 64 of 4,096 samples. Every loop draws the
same batches, by their indices, from the same data.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch import Tensor, nn

import nets
from benchmarks.measuring import Loop, Row, interleaved, ratios, row
from nets.telemetry.tensorboard.board import Board

SAMPLES, BATCH, RATE = 4096, 64, 0.01
WIDTHS = (32, 256, 1024)


def data(device: str = "cpu") -> nets.Batch:
    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(SAMPLES, 64, generator=generator), torch.rand(SAMPLES, 10, generator=generator)
    return nets.Batch(x.to(device), t.to(device))


def orders(device: str = "cpu") -> Iterator[Tensor]:
    """The indices of each batch, in a new order for each pass, as `nets.descend` draws them with seed 0."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield from torch.randperm(SAMPLES, generator=generator).to(device).split(BATCH)


def plain(width: int, device: str = "cpu") -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10)).to(device)


def bare(width: int, device: str = "cpu") -> Loop:
    """The loop of a tutorial: a module, a loss and `torch.optim.SGD`."""
    network, batches, loss_of, samples = plain(width, device), orders(device), nn.MSELoss(), data(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)

    def loop(steps: int) -> None:
        for indices in itertools.islice(batches, steps):
            optimizer.zero_grad()
            loss_of(
                network(samples.inputs.index_select(0, indices)), samples.targets.index_select(0, indices)
            ).backward()
            optimizer.step()

    return loop


def leanest(width: int, device: str = "cpu") -> Loop:
    """The least that autograd needs: the gradients and one call that adds them all, without an optimizer object."""
    network, batches, samples = plain(width, device), orders(device), data(device)
    parameters = list(network.parameters())

    def loop(steps: int) -> None:
        for indices in itertools.islice(batches, steps):
            x, t = samples.inputs.index_select(0, indices), samples.targets.index_select(0, indices)
            loss = nn.functional.mse_loss(network(x), t)
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                torch._foreach_add_(parameters, gradients, alpha=-RATE)

    return loop


def ours(width: int, engine: str, device: str = "cpu", micro: int | None = None) -> Loop:
    """`for step in nets.descend(...): board.write(step)`, then a flush, so that all is on disk when the loop ends."""
    network = nets.mlp([64, width, 10], output="identity").to(device)
    board = Board(tempfile.mkdtemp())
    steps_of = nets.descend(
        network, data(device), loss=nets.MeanSquaredError(), learning_rate=RATE, steps=10**9, batch_size=BATCH,
        micro_batch_size=micro, engine=engine,
    )  # fmt: skip

    def loop(steps: int) -> None:
        for step in itertools.islice(steps_of, steps):
            board.write(step)
        board.flush()

    return loop


def operations_alone(width: int, device: str = "cpu") -> Loop:
    """Only the matrix products and elementwise calls of a step: forward, loss, backward, update."""
    samples, batches = data(device), orders(device)
    w, b, v, c = (p.detach().clone() for p in plain(width, device).parameters())
    x, t, y, z = (torch.empty(BATCH, columns, device=device) for columns in (64, 10, width, 10))
    e, squares, d, s, loss = *map(torch.empty_like, (z, z, y, y)), torch.empty((), device=device)
    gradients = [torch.empty_like(p) for p in (w, b, v, c)]
    gw, gb, gv, gc = gradients

    def loop(steps: int) -> None:
        for indices in itertools.islice(batches, steps):
            torch.index_select(samples.inputs, 0, indices, out=x)
            torch.index_select(samples.targets, 0, indices, out=t)
            torch.addmm(b, x, w.mT, out=y)
            torch.tanh(y, out=y)
            torch.addmm(c, y, v.mT, out=z)
            torch.sub(z, t, out=e)
            torch.mul(e, e, out=squares)
            torch.mean(squares, (0, 1), out=loss)
            torch.mul(e, 2 / e.numel(), out=e)
            torch.mm(e.mT, y, out=gv)
            torch.sum(e, 0, out=gc)
            torch.mm(e, v, out=d)
            torch.mul(y, y, out=s)
            torch.addcmul(d, d, s, value=-1, out=d)
            torch.mm(d.mT, x, out=gw)
            torch.sum(d, 0, out=gb)
            torch._foreach_add_([w, b, v, c], gradients, alpha=-RATE)

    return loop


def compiled(width: int, device: str = "cpu") -> Loop:
    """`torch.compile` of the network and the loss, with their backward."""
    network, batches, samples = plain(width, device), orders(device), data(device)
    parameters = list(network.parameters())
    loss_of: Callable[..., Tensor] = torch.compile(lambda x, t: nn.functional.mse_loss(network(x), t))

    def loop(steps: int) -> None:
        for indices in itertools.islice(batches, steps):
            x, t = samples.inputs.index_select(0, indices), samples.targets.index_select(0, indices)
            gradients = torch.autograd.grad(loss_of(x, t), parameters)
            with torch.no_grad():
                torch._foreach_add_(parameters, gradients, alpha=-RATE)

    return loop


def jitted(width: int) -> Loop:
    """One compiled JAX function for the whole step; it may overwrite its parameters (`donate_argnums`)."""
    import jax
    from jax import numpy as jnp

    samples, batches = data(), orders()
    x, t = jnp.asarray(samples.inputs.numpy()), jnp.asarray(samples.targets.numpy())
    parameters = [jnp.asarray(p.detach().numpy()) for p in plain(width).parameters()]

    def loss_of(parameters: list, indices: object) -> object:
        w, b, v, c = parameters
        return jnp.mean((jnp.tanh(x[indices] @ w.T + b) @ v.T + c - t[indices]) ** 2)

    step = jax.jit(
        lambda parameters, indices: [
            p - RATE * g for p, g in zip(parameters, jax.grad(loss_of)(parameters, indices), strict=True)
        ],
        donate_argnums=0,
    )

    def loop(steps: int) -> None:
        nonlocal parameters
        for indices in itertools.islice(batches, steps):
            parameters = step(parameters, indices.numpy())
        jax.block_until_ready(parameters)

    return loop


LOGGED = "closed form, every norm logged"


def rows(runs: int) -> Iterator[Row]:
    """Each network with one thread and with two."""
    for width, threads in itertools.product(WIDTHS, (1, 2)):
        torch.set_num_threads(threads)
        setting = f"64-{width:,}-10, batch 64, {threads} thread{'s' * (threads > 1)}"
        loops = {
            "ours": ours(width, "closed_form"),
            "autograd": ours(width, "autograd"),
            "bare": bare(width),
            "leanest": leanest(width),
            "alone": operations_alone(width),
            "jax": jitted(width),
            "compile": compiled(width),
        }
        yield from claims(interleaved(loops, steps=300 if width < 1024 else 150, runs=runs), width, setting)


def claims(seconds: dict[str, list[float]], width: int, setting: str) -> Iterator[Row]:
    """The claims about the loops that were run."""
    floor = {peer: median(ratios(seconds, "alone", peer)) for peer in ("bare", "leanest")}
    bare_alone = [second / median(seconds["bare"]) for second in seconds["bare"]]
    why = "the products and elementwise calls of the step alone, with PyTorch, take {:.2f} of its time"
    small = width <= 256
    yield row(
        f"{LOGGED} ÷ autograd with torch.optim.SGD, nothing logged", setting, ratios(seconds, "ours", "bare"),
        "≤ 0.45" if small else "≤ 0.60", why.format(floor["bare"]),
    )  # fmt: skip
    yield row(
        f"{LOGGED} ÷ the leanest autograd loop, nothing logged", setting, ratios(seconds, "ours", "leanest"),
        "≤ 0.60" if small else "≤ 0.65", why.format(floor["leanest"]),
    )  # fmt: skip
    yield row(
        "autograd engine, every norm logged ÷ autograd with torch.optim.SGD, nothing logged", setting,
        ratios(seconds, "autograd", "bare"), "≤ 1.10",
        f"in the same run, the plain loop takes {min(bare_alone):.2f} to {max(bare_alone):.2f} times its median",
    )  # fmt: skip
    yield row(
        f"{LOGGED} ÷ the same products and elementwise calls alone, by PyTorch", setting,
        ratios(seconds, "ours", "alone"), "≤ 1.25",
        "the calls do not include what is recorded: eight norms, an Event and a record",
    )  # fmt: skip
    ahead = "≥ 1" if small else "stated"
    if "jax" in seconds:
        yield row(
            f"JAX jit, nothing logged (always all threads) ÷ {LOGGED}", setting, ratios(seconds, "jax", "ours"), ahead,
            "JAX jit ÷ the products and elementwise calls alone, with PyTorch, is "
            f"{median(ratios(seconds, 'jax', 'alone')):.2f}",
        )  # fmt: skip
    yield row(f"torch.compile, nothing logged ÷ {LOGGED}", setting, ratios(seconds, "compile", "ours"), ahead)
