"""The chain rule in closed form: the Jacobian of a whole network by every parameter and by its input, kept as factors.

Index letters: n sample, k output of the network, i output and j input of the layer that owns the parameter. With
A_nki = ∂Y_nk/∂Z_ni, Z the layer's own output, which the chain rule carries from the last layer back to the first,

    ∂Y_nk/∂W_ij = A_nki X_nj        ∂Y_nk/∂B_i = A_nki        ∂Y_nk/∂X_nj = Σ_i A_nki W_ij

The weight Jacobian has N·K·I·J entries but only N·(K·I + J) numbers; it is never formed unless `.dense()` is called.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from nets.calculus.jacobian import InputJacobian, Jacobian
from nets.calculus.network import Network
from nets.errors import InputError


@torch.no_grad()
def jacobians(network: Network, x: Float[Tensor, "n j"]) -> dict[str, Jacobian]:
    """∂Y/∂θ of every parameter, under its name, and ∂Y/∂X under 'input'.

    Args:
        network: layers in sequence, X (N, J) → Y (N, K).
        x: X_nj.

    Raises:
        InputError: unless X is a batch (N, J) in the network's precision.
    """
    if not isinstance(network, Network):
        raise InputError(
            f"jacobians was given a {type(network).__name__}; expected a nets.Network, whose layers know their derivatives: "
            "convert a torch.nn.Sequential with nets.Network.from_torch."
        )
    network.check(x)
    values = network.trace(x)
    y = values[-1]
    samples, outputs = y.shape
    # A is kept with k in front, so that every layer's pullback broadcasts over it; ∂Y_nk/∂Y_ni = δ_ki to begin with.
    unit = torch.eye(outputs, dtype=y.dtype, device=y.device)[:, None, :].expand(outputs, samples, outputs)
    found: dict[str, Jacobian] = {}
    for index, a in network.pulled_back(unit, values):
        own = network.layers[index].jacobians(a, values[index], values[index + 1])
        found |= {f"{index}.{name}": jacobian for name, jacobian in own.items()}
    # Its parameters as they are now, whatever is made of them before somebody asks.
    first, last = network.layers[0], a
    first = first.at({name: parameter.detach().clone() for name, parameter in first.named_parameters()})
    whole = InputJacobian((samples, outputs, x.shape[1]), lambda: first.pullback(last, x, values[1]).transpose(0, 1))
    return {name: found[name] for name, _ in network.named_parameters()} | {"input": whole}
