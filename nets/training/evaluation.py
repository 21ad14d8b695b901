"""Loss and accuracy of a network, on samples held out for example."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a network does on a batch.

    Attributes:
        loss: ℓ of the batch.
        accuracy: the share of samples whose largest output is the output of their class; None where there are no
            classes.
    """

    loss: float
    accuracy: float | None


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put every layer into evaluation mode, and back into its own mode afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def evaluate(network: Network, loss: Loss, batch: Batch, classes: int | None = None) -> Evaluation:
    """Loss, and with `classes` the accuracy 1/N Σ_n [argmax_k Y_nk = class of n].

    The class of n is T_n, or argmax_k T_nk. The layers are in evaluation mode meanwhile: no number is dropped, and
    nothing is normalized by the statistics of this batch.
    """
    with evaluation_mode(network):
        y = network(batch.inputs)
    accuracy = None
    if classes is not None:
        truth = batch.targets if batch.targets.ndim == 1 else batch.targets.argmax(1)
        accuracy = float((y.argmax(1) == truth).double().mean())
    return Evaluation(float(loss(y, batch.targets)), accuracy)
