"""Layers: document 003."""

import numpy as np
import torch
from torch import Tensor

from nets.calculus.layers import Linear, Tanh
from nets.calculus.network import Network
from nets.lessons import (
    Composed,
    HyperbolicTangent,
    Line,
    entries,
    vjp,
)
from tests.claims.record import claim, close


@claim("C1")
def tanh_as_function_and_as_layer(engine: str) -> list[np.ndarray]:
    found = vjp(engine, HyperbolicTangent(), 2.0)
    layer = entries(engine, Network([Tanh()]), torch.tensor([[2.0]], dtype=torch.float64))["input"].item()
    close(found.y, 0.9640, 5e-5)
    close(found.gradients[0], 0.0707, 5e-5)
    close(layer, found.gradients[0])
    return [found.y, close(found.gradients[0], 1 - found.y**2), close(layer, 1 / np.cosh(2) ** 2)]


@claim("C2")
def tanh_of_tanh(engine: str) -> list[np.ndarray]:
    inner, outer = vjp(engine, HyperbolicTangent(), 2.0), vjp(engine, HyperbolicTangent(), np.tanh(2))
    whole = vjp(engine, Composed(HyperbolicTangent(), HyperbolicTangent()), 2.0)
    layers = entries(engine, Network([Tanh(), Tanh()]), torch.tensor([[2.0]], dtype=torch.float64))["input"].item()
    close([inner.y, outer.y, outer.gradients[0], layers], [0.9640, 0.7461, 0.4434, 0.0313], 5e-5)
    close(layers, outer.gradients[0] * inner.gradients[0])
    return [whole.y, close(whole.gradients[0], layers), outer.gradients[0]]


@claim("C3")
def a_line(engine: str) -> list[np.ndarray]:
    found = vjp(engine, Line(), 2, 3, 4)
    return [close(found.y, 10), close(found.gradients, [3, 2, 1])]


def delta(size: int) -> np.ndarray:
    return np.eye(size)


def drawn(*layers: torch.nn.Module) -> tuple[Network, Tensor]:
    """A network of weights and biases that are all drawn, and three samples."""
    random = torch.Generator().manual_seed(0)
    network = Network(layers).double()
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    return network, torch.randn(3, 4, generator=random, dtype=torch.float64)


@claim("C4")
def every_entry_of_a_linear_layer(engine: str) -> list[np.ndarray]:
    network, x = drawn(Linear(4, 5))
    found = entries(engine, network, x)
    return [
        close(found["input"], np.broadcast_to(network[0].weight.detach(), (3, 5, 4))),
        close(found["0.weight"], np.einsum("ki,nj->nkij", delta(5), x)),
        close(found["0.bias"], np.broadcast_to(delta(5), (3, 5, 5))),
    ]


@claim("C5")
def every_entry_of_the_exercise(engine: str) -> list[np.ndarray]:
    network, x = drawn(Linear(4, 5), Tanh())
    found = entries(engine, network, x)
    slope = 1 - np.tanh(np.einsum("ij,nj->ni", network[0].weight.detach(), x) + network[0].bias.detach().numpy()) ** 2
    return [
        close(found["0.weight"], np.einsum("ki,nk,nj->nkij", delta(5), slope, x)),
        close(found["0.bias"], np.einsum("ki,nk->nki", delta(5), slope)),
    ]
