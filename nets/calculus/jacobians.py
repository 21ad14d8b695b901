"""The chain rule in closed form: the Jacobian of a whole network by every parameter and by its input, kept as factors.

Index letters: n sample, k output of the network, i output and j input of the layer that owns the parameter. With
A_nki = ∂Y_nk/∂Z_ni, Z the layer's own output, which the chain rule carries from the last layer back to the first,

    ∂Y_nk/∂W_ij = A_nki X_nj        ∂Y_nk/∂B_i = A_nki        ∂Y_nk/∂X_nj = Σ_i A_nki W_ij

for a Linear layer over vectors. This weight Jacobian has N·K·I·J entries but only N·(K·I + J) numbers; it is never
formed unless `.dense()` is called. A layer without factors of its own has every entry (see `Layer.jacobians`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from nets.calculus.jacobian import DenseJacobian, InputJacobian, Jacobian
from nets.calculus.layer import unit_cotangents
from nets.calculus.network import Network
from nets.errors import InputError


@torch.no_grad()
def jacobians(network: Network, x: Tensor) -> dict[str, Jacobian]:
    """∂Y/∂θ of every parameter, under its name, and ∂Y/∂X under 'input'.

    Args:
        network: layers in sequence, X (N, *S) → Y (N, *K).
        x: X; it may hold whole numbers, such as tokens, if the first layer takes them.

    Returns:
        Jacobians with the axes (n, *k, *parameter.shape); that by the input has the axes (n, *k, *s). There is none by
        an input of whole numbers.

    Raises:
        InputError: unless X is a batch (N, *S) in the network's precision; or if a layer fails, returns something that
            does not fit, or writes into what it is given.
    """
    if not isinstance(network, Network):
        raise InputError(
            f"the network is a {type(network).__name__}; expected a nets.Network, whose layers know their derivatives: "
            "convert a torch.nn.Sequential with nets.Network.from_torch."
        )
    if not network.layers:
        raise InputError("the network has no layers; expected at least one.")
    # Whole numbers are an X, too, for a first layer that takes them.
    if not isinstance(x, Tensor) or x.is_floating_point() or x.is_complex():
        network.check(x)
    values = checked_trace(network, x)
    y = values[-1]
    # A has k in front, so that every layer's pullback broadcasts over it; it begins with ∂Y_nk/∂Y_ni = δ_ki.
    found, a = dict[str, Jacobian](), unit_cotangents(y)
    for index in reversed(range(len(network))):
        layer, place = network.layers[index], (values[index], values[index + 1])
        with _named(index):
            own = layer.jacobians(a, *place)
            if index:
                a = layer.checked_pullback(a, *place)
        found |= {f"{index}.{name}": _by_output(jacobian, y) for name, jacobian in own.items()}
    by_input = {"input": _by_input(network, a, values)} if x.is_floating_point() else {}
    return {name: found[name] for name, _ in network.named_parameters()} | by_input


def checked_trace(network: Network, x: Tensor) -> list[Tensor]:
    """[X, output of layer 0, …, Y].

    Raises:
        InputError: if a layer fails, returns something that is not one tensor with an entry for each sample, or writes
            into its input.
    """
    values = [x]
    for index, layer in enumerate(network.layers):
        try:
            values.append(layer.checked_forward(values[-1]))
        except InputError as error:
            raise InputError(f"layer {index}: {_cast_before(network, values)}{error}") from error
    return values


def _cast_before(network: Network, values: list[Tensor]) -> str:
    """The first layer that returned another precision than it was given, in words; '' if there is none."""
    for layer, (before, after) in zip(network.layers, pairwise(values), strict=False):
        if before.is_floating_point() and before.dtype != after.dtype:
            return f"after {type(layer).__name__}.forward turned {before.dtype} into {after.dtype}, "
    return ""


def _by_input(network: Network, a: Tensor, values: list[Tensor]) -> InputJacobian:
    """∂Y/∂X, which is computed later, on request, and belongs to the parameters as they are now."""
    first, (x, z) = network.layers[0], values[:2]
    first = first.at({name: parameter.detach().clone() for name, parameter in first.named_parameters()})

    def pulled_back() -> Tensor:
        with _named(0):
            return first.checked_pullback(a, x, z).transpose(0, 1)

    return InputJacobian(values[-1].shape, x.shape, pulled_back)


@contextmanager
def _named(index: int) -> Iterator[None]:
    """Within this context an InputError names the layer by its number."""
    try:
        yield
    except InputError as error:
        raise InputError(f"layer {index}: {error}") from error


def _by_output(jacobian: Jacobian, y: Tensor) -> Jacobian:
    """The same with the axes of Y in place of k, where there are several."""
    if y.ndim == 2:
        return jacobian
    return DenseJacobian(jacobian.dense().reshape(*y.shape, *jacobian.shape[2:]), y.ndim - 1)
