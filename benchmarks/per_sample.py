"""The gradient of a batch, and the gradient norm of each of its samples: BackPACK, Opacus and vmap(grad) against the
closed form, which forms no gradient of a sample: ‖v_n‖ ‖x_n‖ for a Linear layer."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import nets
from benchmarks import eager, layers
from benchmarks.measuring import Loop, Row, interleaved, ratios, row
from benchmarks.steps import BATCH, WIDTHS, data, plain
from nets.training.gradients.engines import GRADIENT_ENGINES
from nets.training.gradients.sample_norms import SAMPLED
from nets.training.loop import MULTITHREAD_FROM


class Setting(NamedTuple):
    """One network with a batch.

    Attributes:
        name: of both.
        network: ours.
        loss: ours.
        module: makes the same network of torch.nn modules.
        loss_module: makes the loss, for BackPACK a module of torch.nn.
        batch: of samples.
        steps: in each run.
        targets: of the ratios, by peer. A peer that is left out does not know the layers.
    """

    name: str
    network: nets.Network
    loss: nets.Loss
    module: Callable[[], nn.Module]
    loss_module: Callable[[], Callable[[Tensor, Tensor], Tensor]]
    batch: nets.Batch
    steps: int
    targets: dict[str, str]


def dense(width: int) -> Setting:
    network, batch = nets.mlp([64, width, 10], output="identity"), data().take(slice(0, BATCH))
    targets = dict.fromkeys(PEERS, "≥ 8" if width <= 256 else "≥ 5")
    steps = 60 if width < 1024 else 20
    return Setting(
        f"64-{width:,}-10, batch 64", network, nets.MeanSquaredError(), lambda: plain(width), nn.MSELoss, batch, steps,
        targets,
    )  # fmt: skip


def of_layers(setting: layers.Setting, *peers: str) -> Setting:
    """A network of `benchmarks.layers`, at one of its batches."""
    network, batch = setting.made(), setting.samples.take(slice(0, setting.batch))
    loss_module = nn.CrossEntropyLoss if "BackPACK BatchL2Grad" in peers else lambda: eager.tokens_loss
    return Setting(
        setting.name, network, nets.CrossEntropy(), lambda: setting.peer(network), loss_module, batch, setting.steps,
        {name: "stated" if name == VMAP else "≥ 4" for name in (*peers, VMAP)},
    )  # fmt: skip


def ours(setting: Setting, engine: Callable[[], Callable] = SAMPLED["closed_form"]) -> Loop:
    network, loss, batch, call = setting.network, setting.loss, setting.batch, engine()
    size = sum(parameter.numel() for parameter in network.parameters())

    def loop(steps: int) -> None:
        threads = torch.get_num_threads()
        if len(batch) * size < MULTITHREAD_FROM:  # as nets.descend does
            torch.set_num_threads(1)
        for _ in range(steps):
            call(network, loss, batch)
        torch.set_num_threads(threads)

    return loop


def backpack_loop(setting: Setting) -> Loop:
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad

    network, loss_of, batch = extend(setting.module()), extend(setting.loss_module()), setting.batch

    def loop(steps: int) -> None:
        for _ in range(steps):
            network.zero_grad()
            with backpack(BatchL2Grad()):
                loss_of(network(batch.inputs), batch.targets).backward()

    return loop


def opacus_loop(setting: Setting) -> Loop:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus import GradSampleModule

        network = GradSampleModule(setting.module())
    loss_of, batch = setting.loss_module(), setting.batch

    def loop(steps: int) -> None:
        with warnings.catch_warnings(record=True):  # PyTorch warns at each backward pass
            for _ in range(steps):
                network.zero_grad()
                loss_of(network(batch.inputs), batch.targets).backward()
                # The table of positions of a GPT is read without its module, and gets no norm.
                each = [p.grad_sample for p in network.parameters() if p.grad_sample is not None]
                [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in each]

    return loop


def vmap_loop(setting: Setting) -> Loop:
    network, loss_of, batch = setting.module(), setting.loss_module(), setting.batch
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def loss_of_one(parameters: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
        return loss_of(functional_call(network, parameters, (x[None],)), t[None])

    each = vmap(grad(loss_of_one), (None, 0, 0))

    def loop(steps: int) -> None:
        for _ in range(steps):
            gradients = each(parameters, batch.inputs, batch.targets)
            [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()]
            [g.mean(0) for g in gradients.values()]

    return loop


VMAP = "vmap(grad)"
PEERS = {"BackPACK BatchL2Grad": backpack_loop, "Opacus GradSampleModule": opacus_loop, VMAP: vmap_loop}


def settings() -> Iterator[Setting]:
    yield from map(dense, WIDTHS)
    small, *_, images = layers.settings()
    # BackPACK has no LayerNorm and no attention.
    yield of_layers(small, "Opacus GradSampleModule")
    yield of_layers(images, "BackPACK BatchL2Grad", "Opacus GradSampleModule")


def rows(runs: int) -> Iterator[Row]:
    for setting, threads in itertools.product(settings(), (1, 2)):
        torch.set_num_threads(threads)
        loops = {name: PEERS[name](setting) for name in setting.targets}
        loops |= {"ours": ours(setting), "without": ours(setting, GRADIENT_ENGINES["closed_form"])}
        seconds = interleaved(loops, steps=setting.steps, runs=runs)
        share = sorted(ratios(seconds, "without", "ours"))[runs // 2]
        for name, target in setting.targets.items():
            yield row(
                f"per-sample gradient norms: {name} ÷ ours",
                f"{setting.name}, {threads} thread{'s' * (threads > 1)}",
                ratios(seconds, name, "ours"),
                target,
                f"{share:.0%} of the time of ours is the gradient of the batch, without the norms",
            )
