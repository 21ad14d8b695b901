"""What every engine is given: the formula of a network as names and NumPy arrays, without its code."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nets.calculus.layer import Layer
from nets.calculus.layers import GELU, Identity, Linear, ReLU, Sigmoid, Sin, Softplus, Tanh
from nets.calculus.network import Network

Array = NDArray[np.float64]

LAYERS: tuple[type[Layer], ...] = (Linear, Tanh, Sigmoid, ReLU, Softplus, GELU, Sin, Identity)
"""The layers that every engine has a forward of."""


class OutOfReachError(Exception):
    """An engine has no way to derive this network: a layer is unknown, or there are too many entries."""


def read(network: Network, x: Tensor) -> tuple[list[str], dict[str, Array], Array]:
    """(what each layer is called, parameter name → its numbers, X), in float64 and apart from the network.

    Raises:
        InputError: unless X is a batch (N, J) in the network's precision.
        OutOfReachError: for a layer whose forward is none of those in LAYERS.
    """
    network.check(x)
    kinds = [_kind(index, layer) for index, layer in enumerate(network)]
    return kinds, {name: _numbers(parameter) for name, parameter in network.named_parameters()}, _numbers(x)


def tensors(parameters: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Tensor]:
    """Whatever arrays an engine has found, as tensors, in the order of the parameters, then 'input'."""
    return {name: torch.from_numpy(np.array(found[name], dtype=np.float64)) for name in (*parameters, "input")}


def _kind(index: int, layer: nn.Module) -> str:
    # The forward is the formula. A layer that inherits it, with another derivative, is what an engine can judge.
    owner = next(owner for owner in type(layer).__mro__ if "forward" in vars(owner))
    if owner not in LAYERS:
        known = ", ".join(kind.__name__ for kind in LAYERS)
        raise OutOfReachError(f"layer {index} is a {type(layer).__name__}, of which no engine has a forward; known: {known}.")
    return owner.__name__


def _numbers(tensor: Tensor) -> Array:
    return np.array(tensor.detach().cpu().to(torch.float64).numpy())
