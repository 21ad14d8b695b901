"""Whether samples fit a network and a loss. The network is tried with a few samples before a descent."""

import torch
from torch import Tensor

from nets.calculus.checks import checked_trace, unchanged
from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch

MOST_PASSED = 256
"""The number of samples that are passed through the network. All of them would take too long."""


def expect_fit(network: Network, loss: Loss, batch: Batch) -> None:
    """Raise InputError unless the network accepts the samples, and the loss its outputs and every target.

    The network stays as it is. The samples with the smallest and the largest whole number, such as a token, are always
    passed through it.
    """
    x = batch.inputs
    rows = torch.arange(min(len(x), MOST_PASSED), device=x.device)
    if not x.is_floating_point():
        numbers = x.flatten(1)
        extremes = torch.stack([numbers.amin(1).argmin(), numbers.amax(1).argmax()])
        rows = torch.cat([rows, extremes]).unique()
    with unchanged(network), torch.no_grad():
        y = checked_trace(network, x[rows])[-1]
    loss.check(_like_all(y, len(x)), batch.targets)


def _like_all(y: Tensor, samples: int) -> Tensor:
    """An output of the shape that all samples have; nothing is copied."""
    return y if len(y) == samples else y[:1].expand(samples, *y.shape[1:])
