"""The chain rule in closed form: the Jacobian of a whole network by every parameter and by its input, kept as factors.

Index letters: n sample, k output of the network, i output and j input of the layer that owns the parameter. With
A_nki = ∂Y_nk/∂Z_ni, Z the layer's own output, which the chain rule carries from the last layer back to the first,

    ∂Y_nk/∂W_ij = A_nki X_nj        ∂Y_nk/∂B_i = A_nki        ∂Y_nk/∂X_nj = Σ_i A_nki W_ij

for a Linear layer over vectors. This weight Jacobian has N·K·I·J entries but only N·(K·I + J) numbers; it is never
formed unless `.dense()` is called. A layer without factors of its own has every entry (see `Layer.jacobians`).
"""

import torch
from torch import Tensor

from nets.calculus.checks import checked_trace, checked_visits, coupling_layers, naming, unchanged
from nets.calculus.cotangents import unit_cotangents
from nets.calculus.jacobian import DenseJacobian, InputJacobian, Jacobian, add_use
from nets.calculus.network import Network
from nets.calculus.parameters import add_by_name
from nets.errors import InputError


@torch.no_grad()
def jacobians(network: Network, x: Tensor) -> dict[str, Jacobian]:
    """∂Y/∂θ of every parameter, under its name, and ∂Y/∂X under 'input'.

    Args:
        network: layers in sequence, X (N, *S) → Y (N, *K).
        x: X; it may hold whole numbers, such as tokens, if the first layer takes them.

    Returns:
        Jacobians with the axes (n, *k, *parameter.shape); that by the input has the axes (n, *k, *s). Where samples
        depend on one another, as in a batch normalization, that by the input has the axes (n, *k, m, *s), with m the
        sample of X. An input of whole numbers, such as tokens, has no Jacobian.

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
    network.check(x)
    with unchanged(network):
        values = checked_trace(network, x)
        coupled = bool(coupling_layers(network, values))
        found = _of_coupled_samples(network, values) if coupled else _by_sample(network, values)
    return {name: found[name] for name in (*dict(network.named_parameters()), "input") if name in found}


def _by_sample(network: Network, values: list[Tensor]) -> dict[str, Jacobian]:
    """The Jacobians where no sample depends on another, so that all samples are pulled back at once."""
    x, y = values[0], values[-1]
    # A has k in front, so that every layer's pullback broadcasts over it; it begins with ∂Y_nk/∂Y_ni = δ_ki.
    found, names = dict[str, Jacobian](), network.names_by_part()
    for part, layer, *at in checked_visits(network, unit_cotangents(y), values):
        with naming(part):
            own = layer.jacobians(*at)
        for name, jacobian in own.items():
            add_use(found, names[part][name], _by_output(jacobian, y))
    if x.is_floating_point():
        # The input's Jacobian is computed later, on request, and belongs to the parameters as they are now.
        first = layer.at({name: parameter.detach().clone() for name, parameter in layer.named_parameters()})

        def by_input() -> Tensor:
            with naming(part):
                return first.checked_pullback(*at).transpose(0, 1)

        found["input"] = InputJacobian(y.shape, x.shape, by_input)
    return found


def _of_coupled_samples(network: Network, values: list[Tensor]) -> dict[str, Jacobian]:
    """The Jacobians where samples depend on one another: each output of each sample is pulled back by itself."""
    x, y = values[0], values[-1]
    units = torch.eye(y.numel(), dtype=y.dtype, device=y.device).reshape(-1, *y.shape)
    rows, names = [dict[str, Tensor]() for _ in units], network.names_by_part()
    for part, layer, a, *at in checked_visits(network, units, values):
        for row, v in zip(rows, a, strict=True):
            with naming(part):
                own = layer.checked_gradients(v, *at)
            add_by_name(row, names[part], own)
    dense = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    if x.is_floating_point():
        with naming(part):
            dense["input"] = layer.checked_pullback(a, *at)
    return {name: DenseJacobian(d.reshape(*y.shape, *d.shape[1:]), y.ndim - 1) for name, d in dense.items()}


def _by_output(jacobian: Jacobian, y: Tensor) -> Jacobian:
    """The same with the axes of Y in place of k, where there are several."""
    if y.ndim == 2:
        return jacobian
    return DenseJacobian(jacobian.dense().reshape(*y.shape, *jacobian.shape[2:]), y.ndim - 1)
