"""Every entry of a network's Jacobians, by each engine."""

from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from nets.calculus.network import Network
from nets.verification.derivations.engines import available


def entries(engine: str, network: Network, x: Tensor) -> dict[str, Tensor]:
    """∂Y_nk/∂θ, shape (N, K, *θ.shape), for every parameter, and ∂Y_nk/∂X_nj, shape (N, K, J), under 'input'.

    Args:
        engine: 'PyTorch' for its reverse mode, which does not use the layers' own derivatives; or one of
            `nets.verification.derivations.engines.available()`.
        network: layers in sequence.
        x: X_nj.

    Raises:
        InputError: unless X is a batch (N, J) in the network's precision.
        KeyError: for an engine that is not installed.
    """
    if engine != "PyTorch":
        return available()[engine](network, x)
    network.check(x)
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def forward(theta: dict[str, Tensor], sample: Tensor) -> Tensor:
        y: Tensor = functional_call(network, theta, (sample,))
        return y

    by_parameter, by_input = vmap(jacrev(forward, argnums=(0, 1)), (None, 0))(parameters, x)
    return {**by_parameter, "input": by_input}
