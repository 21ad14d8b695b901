"""The chain rule in closed form: the Jacobian of a whole network by every parameter and by its input, kept as factors.

Index letters: n sample, k output of the network, i output and j input of the layer that owns the parameter. With
A_nki = ∂Y_nk/∂Z_ni, Z the layer's own output, which the chain rule carries from the last layer back to the first,

    ∂Y_nk/∂W_ij = A_nki X_nj        ∂Y_nk/∂B_i = A_nki        ∂Y_nk/∂X_nj = Σ_i A_nki W_ij

for a Linear layer over vectors. This weight Jacobian has N·K·I·J entries but only N·(K·I + J) numbers; it is never
formed unless `.dense()` is called. A layer without factors of its own has every entry (see `Layer.jacobians`).
"""

import torch
from torch import Tensor

from nets.calculus.jacobian import DenseJacobian, InputJacobian, Jacobian, SumOfJacobians
from nets.calculus.layer import unit_cotangents
from nets.calculus.network import Network
from nets.errors import InputError


@torch.no_grad()
def jacobians(network: Network, x: Tensor) -> dict[str, Jacobian]:
    """∂Y/∂θ of every parameter, under its name, and ∂Y/∂X under 'input'.

    Args:
        network: layers in sequence, X (N, *S) → Y (N, *K).
        x: X.

    Returns:
        Jacobians with the axes (n, *k, *parameter.shape); that by the input has the axes (n, *k, *s).

    Raises:
        InputError: unless X is a batch (N, *S) in the network's precision.
    """
    if not isinstance(network, Network):
        raise InputError(
            f"the network is a {type(network).__name__}; expected a nets.Network, whose layers know their derivatives: "
            "convert a torch.nn.Sequential with nets.Network.from_torch."
        )
    if not network.layers:
        raise InputError("the network has no layers; expected at least one.")
    network.check(x)
    values = network.trace(x)
    y = values[-1]
    # A has k in front, so that every layer's pullback broadcasts over it; it begins with ∂Y_nk/∂Y_ni = δ_ki.
    found, names = dict[str, Jacobian](), network.parameter_names()
    for index, a in network.pulled_back(unit_cotangents(y), values):
        _expect_shape(network, index, a, (y[0].numel(), *values[index + 1].shape))
        own = network.layers[index].jacobians(a, values[index], values[index + 1])
        for name, jacobian in own.items():
            _add(found, names[index][name], _by_output(jacobian, y))
    # The input's Jacobian is computed later, on request, and belongs to the parameters as they are now.
    first, last = network.layers[0], a
    first = first.at({name: parameter.detach().clone() for name, parameter in first.named_parameters()})
    by_input = InputJacobian(y.shape, x.shape, lambda: first.pullback(last, x, values[1]).transpose(0, 1))
    return {name: found[name] for name, _ in network.named_parameters()} | {"input": by_input}


def _expect_shape(network: Network, index: int, a: object, expected: tuple[int, ...]) -> None:
    """InputError unless A_kni, the pullback to the output of layer `index`, is a tensor of shape (K, N, *S)."""
    if not isinstance(a, Tensor) or a.shape != expected:
        found = f"the shape {tuple(a.shape)}" if isinstance(a, Tensor) else f"a {type(a).__name__}"
        raise InputError(
            f"the pullback of layer {index + 1}, a {type(network.layers[index + 1]).__name__}, returned {found}; "
            f"expected the shape {tuple(expected)}, that of its input with the {expected[0]} outputs of the network "
            "in front: let it broadcast over the further axes of v."
        )


def _add(found: dict[str, Jacobian], name: str, jacobian: Jacobian) -> None:
    """The Jacobian of one more use of a parameter."""
    found[name] = SumOfJacobians((found[name], jacobian)) if name in found else jacobian


def _by_output(jacobian: Jacobian, y: Tensor) -> Jacobian:
    """The same with the axes of Y in place of k, where there are several."""
    if y.ndim == 2:
        return jacobian
    return DenseJacobian(jacobian.dense().reshape(*y.shape, *jacobian.shape[2:]), y.ndim - 1)
