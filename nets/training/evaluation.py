"""Loss and accuracy of a network, for example on held-out samples; and a text that it writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch, DataSet
from nets.validation import seeded

AT_ONCE = 1024
"""The number of samples that pass through the network together."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Loss and accuracy of a network on a batch.

    Attributes:
        loss: ℓ of the batch.
        accuracy: the share of samples, or of tokens, whose largest output belongs to their class; None without classes.
        counted: the number of samples, or tokens, in that share.
    """

    loss: float
    accuracy: float | None
    counted: int = 0


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
    """Loss, and with `classes` the accuracy 1/C Σ_n [argmax_k Y_nk = class of n] over the C samples, or tokens, that
    count.

    The class of n is T_n, or argmax_k T_nk. The layers are in evaluation mode: nothing is dropped out, and
    normalizations use fixed statistics.
    """
    parts = batch.split(AT_ONCE)
    with evaluation_mode(network):
        found = [_measured(network, loss, part, classes) for part in parts]
    mean = loss.reduction == "mean"
    weights = [loss.counted(part.targets) if mean else 1 for part in parts]
    total = max(1, sum(weights)) if mean else 1
    value = sum(weight / total * one for weight, (one, _, _) in zip(weights, found, strict=True))
    if classes is None:
        return Evaluation(value, None)
    counted = sum(count for *_, count in found)
    return Evaluation(value, sum(right for _, right, _ in found) / max(1, counted), counted)


def _measured(network: Network, loss: Loss, batch: Batch, classes: int | None) -> tuple[float, int, int]:
    """ℓ, the number of samples or tokens that are right, and the number that count."""
    y = network(batch.inputs)
    if classes is None:
        return float(loss(y, batch.targets)), 0, 0
    truth = batch.targets.argmax(-1) if batch.targets.is_floating_point() else batch.targets
    return float(loss(y, batch.targets)), int((y.argmax(-1) == truth).sum()), int((truth >= 0).sum())


def continued(network: Network, data: DataSet, seed: int) -> str:
    """A text that the network writes, if the data is text, else ''. It is determined by the seed."""
    with evaluation_mode(network):
        return data.continued(network, seeded(seed))
