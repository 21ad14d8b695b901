"""The one table of networks. A case is a network in float64 and a batch of inputs, both drawn from its own seed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nets.calculus.layer import Layer
from nets.calculus.layers import ACTIVATIONS, GELU, Identity, Linear, ReLU, Sigmoid, Sin, Softplus, Tanh
from nets.calculus.network import Network


@dataclass(frozen=True)
class Case:
    """A network, and a batch that it can be given."""

    name: str
    network: Network
    x: Tensor

    def __str__(self) -> str:
        return self.name


def _case(seed: int, name: str, samples: int, features: int, *layers: Layer) -> Case:
    generator = torch.Generator().manual_seed(seed)
    network = Network(layers).double()
    for parameter in network.parameters():
        # Biases too, so that nothing is right merely because it is zero.
        parameter.data = (
            torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / parameter.shape[-1] ** 0.5
        )
    return Case(name, network, torch.randn(samples, features, generator=generator, dtype=torch.float64))


NETWORKS = [
    _case(1, "linear", 3, 4, Linear(4, 2)),
    _case(2, "linear without bias", 3, 4, Linear(4, 2, bias=False)),
    _case(3, "tanh of linear", 4, 5, Linear(5, 3), Tanh()),
    _case(4, "tanh of tanh of linear", 3, 4, Linear(4, 2), Tanh(), Tanh()),
    _case(5, "tanh of tanh", 3, 2, Tanh(), Tanh()),
    _case(6, "one sample, one unit", 1, 1, Linear(1, 1), Tanh()),
    _case(7, "two layers", 4, 5, Linear(5, 6), Tanh(), Linear(6, 3)),
    _case(8, "activation first", 2, 3, Sin(), Linear(3, 4), Sigmoid()),
    _case(9, "linear of linear", 2, 3, Linear(3, 4), Linear(4, 2)),
    _case(
        10,
        "every activation",
        2,
        3,
        Linear(3, 4),
        Sigmoid(),
        Linear(4, 4),
        ReLU(),
        Linear(4, 4),
        Softplus(),
        Linear(4, 4),
        GELU(),
        Linear(4, 4),
        Sin(),
        Identity(),
        Linear(4, 3),
        Tanh(),
    ),
]

ACTIVATION_NAMES = list(ACTIVATIONS)
