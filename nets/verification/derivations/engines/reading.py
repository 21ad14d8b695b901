"""What every engine is given: the parameters and the input as NumPy arrays, and the forward over the functions of any
engine.

The engines share this forward with the layers. They share no derivative with them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.calculus.checks import grouped_cotangents, unchanged
from nets.calculus.layer import Layer
from nets.calculus.mathematics import TORCH, Mathematics
from nets.calculus.network import Network
from nets.calculus.parameters import add_by_name, first_names
from nets.errors import InputError
from nets.text import one_line

Array = NDArray[np.float64]


class OutOfReachError(Exception):
    """An engine cannot derive this network: a layer has no forward for it, or there are too many entries."""


def read(network: Network, x: Tensor) -> tuple[dict[str, Array], Array]:
    """(name of each use of a parameter → its numbers, X), in float64 and in memory of their own.

    Raises:
        InputError: unless X is a batch (N, *S) in the network's precision.
        OutOfReachError: for a layer whose forward is written for PyTorch alone, or that makes samples depend on others.
    """
    network.check(x)
    for name, layer in network.named_modules():
        if isinstance(layer, Layer) and not portable(layer):
            raise OutOfReachError(
                f"layer {name} is a {type(layer).__name__}, whose forward is written for PyTorch alone: "
                "write it as function(m, x, **parameters)."
            )
    parameters = dict(network.named_parameters(remove_duplicate=False))
    with unchanged(network):
        _expect_separate_samples(network, parameters, x)
    return {name: _numbers(parameter) for name, parameter in parameters.items()}, _numbers(x)


def _expect_separate_samples(network: Network, parameters: Mapping[str, Tensor], x: Tensor) -> None:
    """OutOfReachError where the outputs of a layer for one sample depend on other samples.

    The forward of the engines is run in PyTorch, without the derivatives of the layers: the gradient of the outputs for
    a group of samples must be zero by all other samples.
    """
    for name, layer in network.parts.items():
        separate = layer.elementwise or len(x) == 1 or not x.is_floating_point()
        with torch.set_grad_enabled(not separate):
            x = x.detach().requires_grad_(not separate)
            y = forward({name: layer}, TORCH, parameters, x)
            if not separate and _samples_depend_on_others(y, x):
                raise OutOfReachError(
                    f"layer {name} makes the outputs for one sample depend on others; the engines take each by itself."
                )
        x = y


def _samples_depend_on_others(y: Tensor, x: Tensor) -> bool:
    for group, v in zip(*grouped_cotangents(y.detach()), strict=True):
        # With v as its argument, `grad` would import SymPy and so change the filters of warnings.
        (gradient,) = torch.autograd.grad((v * y).sum(), x, retain_graph=True, materialize_grads=True)
        if gradient[~group].any():
            return True
    return False


def forward(layers: Mapping[str, Layer], m: Mathematics, theta: Mapping[str, Any], x: Any) -> Any:
    """X → Y through some layers in sequence, in the arrays of `m`.

    Args:
        layers: of a network, by their names in it.
        m: functions of an engine.
        theta: its arrays, by the names that the parameters have in the network.
        x: X, of shape (N, *S).
    """
    for part, layer in layers.items():
        own = {name: theta[f"{part}.{name}"] for name, _ in layer.named_parameters(remove_duplicate=False)}
        constants = {name: m.array(_numbers(buffer)) for name, buffer in layer.function_buffers().items()}
        try:
            x = layer.function(m, x, **own, **constants)
        except (OutOfReachError, InputError):
            raise
        except Exception as error:  # each engine has errors of its own
            method = error.name if isinstance(error, AttributeError) else None
            cause = f"fails with {one_line(error)}" if method is None else f"uses x.{method}"
            raise OutOfReachError(
                f"the function of layer {part}, a {type(layer).__name__}, {cause}; expected operators and functions "
                "of m alone, such as m.sum(x) in place of x.sum(), and parameters and buffers taken as arguments."
            ) from error
    return x


def tensors(network: Network, found: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arrays that an engine has found, as tensors: those of the parameters, each the sum over its uses, then
    'input'."""
    arrays = {name: torch.from_numpy(np.array(array, dtype=np.float64)) for name, array in found.items()}
    total: dict[str, Tensor] = {}
    add_by_name(total, {**first_names(network), "input": "input"}, arrays)
    return total


def portable(layer: Layer) -> bool:
    """Whether `function` is what the layer computes: a class that overrides `forward` alone computes another."""
    if isinstance(layer, Network):
        return True
    mro = type(layer).__mro__
    forward, function = (next(i for i, c in enumerate(mro) if name in vars(c)) for name in ("forward", "function"))
    return mro[function] is not Layer and function <= forward


def _numbers(tensor: Tensor) -> Array:
    """In float64; whole numbers, which may be indices, stay whole."""
    whole = not tensor.is_floating_point() and tensor.dtype != torch.bool
    return np.array(tensor.detach().cpu().to(torch.int64 if whole else torch.float64).numpy())
