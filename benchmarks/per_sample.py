"""The gradient of a batch, and the gradient norm of each of its samples: BackPACK, Opacus and vmap(grad) against the
closed form ‖v_n‖ ‖x_n‖."""

import itertools
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import nets
from benchmarks.measuring import Loop, Row, interleaved, ratios, row
from benchmarks.steps import BATCH, WIDTHS, data, plain
from nets.training.gradients.engines import ENGINES
from nets.training.gradients.sample_norms import SAMPLED
from nets.training.loop import MULTITHREAD_FROM


def batch() -> nets.Batch:
    return data().take(slice(0, BATCH))


def ours(width: int, engine: Callable[[], Callable] = SAMPLED["closed_form"]) -> Loop:
    network, loss, own, call = nets.mlp([64, width, 10], output="identity"), nets.MeanSquaredError(), batch(), engine()
    size = sum(parameter.numel() for parameter in network.parameters())

    def loop(steps: int) -> None:
        threads = torch.get_num_threads()
        if BATCH * size < MULTITHREAD_FROM:  # as nets.descend does
            torch.set_num_threads(1)
        for _ in range(steps):
            call(network, loss, own)
        torch.set_num_threads(threads)

    return loop


def backpack_loop(width: int) -> Loop:
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad

    network, loss_of, own = extend(plain(width)), extend(nn.MSELoss()), batch()

    def loop(steps: int) -> None:
        for _ in range(steps):
            network.zero_grad()
            with backpack(BatchL2Grad()):
                loss_of(network(own.inputs), own.targets).backward()

    return loop


def opacus_loop(width: int) -> Loop:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus import GradSampleModule

        network = GradSampleModule(plain(width))
    loss_of, own = nn.MSELoss(), batch()

    def loop(steps: int) -> None:
        with warnings.catch_warnings(record=True):  # PyTorch warns at each backward pass
            for _ in range(steps):
                network.zero_grad()
                loss_of(network(own.inputs), own.targets).backward()
                [torch.linalg.vector_norm(p.grad_sample.flatten(1), dim=1) for p in network.parameters()]

    return loop


def vmap_loop(width: int) -> Loop:
    network, own = plain(width), batch()
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def loss_of(parameters: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
        return nn.functional.mse_loss(functional_call(network, parameters, (x,)), t)

    each = vmap(grad(loss_of), (None, 0, 0))

    def loop(steps: int) -> None:
        for _ in range(steps):
            gradients = each(parameters, own.inputs, own.targets)
            [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()]
            [g.mean(0) for g in gradients.values()]

    return loop


PEERS = {"BackPACK BatchL2Grad": backpack_loop, "Opacus GradSampleModule": opacus_loop, "vmap(grad)": vmap_loop}


def rows(runs: int) -> Iterator[Row]:
    for width, threads in itertools.product(WIDTHS, (1, 2)):
        torch.set_num_threads(threads)
        loops = {name: make(width) for name, make in PEERS.items()} | {
            "ours": ours(width),
            "without": ours(width, ENGINES["closed_form"]),
        }
        seconds = interleaved(loops, steps=60 if width < 1024 else 20, runs=runs)
        share = sorted(ratios(seconds, "without", "ours"))[runs // 2]
        for name in PEERS:
            yield row(
                f"per-sample gradient norms: {name} ÷ ours",
                f"64-{width:,}-10, batch 64, {threads} thread{'s' * (threads > 1)}",
                ratios(seconds, name, "ours"),
                "≥ 8" if width <= 256 else "≥ 5",
                f"{share:.0%} of the time of ours is the gradient of the batch, without the norms",
            )
