"""∂Y/∂θ by `jax.jacrev`: the forward in JAX, and JAX's own derivatives of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from nets.calculus.network import Network
from nets.verification.derivations.engines.loading import load
from nets.verification.derivations.engines.reading import read, tensors


def jacobians(network: Network, x: Tensor) -> dict[str, Tensor]:
    """∂Y_nk/∂θ, shape (N, K, *θ.shape), for every parameter, and ∂Y_nk/∂X_nj, shape (N, K, J), under 'input'.

    Raises:
        InputError: unless X is a batch (N, J) in the network's precision.
        OutOfReachError: for a layer of an unknown kind.
    """
    kinds, parameters, points = read(network, x)
    jax = load("jax")

    def forward(theta: dict[str, Any], x: Any) -> Any:
        """X_j → Y_k, for one sample."""
        for index, kind in enumerate(kinds):
            x = _layer(jax, kind, x, theta.get(f"{index}.weight"), theta.get(f"{index}.bias"))
        return x

    with in_double(jax):
        # Compiled as a whole, since compiling it operation by operation takes three times as long.
        each_sample = jax.jit(jax.vmap(jax.jacrev(forward, argnums=(0, 1)), in_axes=(None, 0)))
        by_parameter, by_input = each_sample(parameters, points)
        return tensors(parameters, {**by_parameter, "input": by_input})


@contextmanager
def in_double(jax: Any) -> Iterator[None]:
    """In float64, on the processor, whatever the process has set."""
    # An experiment until JAX 0.8; Python 3.10 gets no later one than 0.6.
    owner = jax if hasattr(jax, "enable_x64") else load("jax.experimental")
    with owner.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        yield


def _layer(jax: Any, kind: str, x: Any, w: Any, b: Any) -> Any:
    match kind:
        case "Linear":
            return w @ x if b is None else w @ x + b
        case "Tanh":
            return jax.numpy.tanh(x)
        case "Sigmoid":
            return jax.nn.sigmoid(x)
        case "ReLU":
            return jax.nn.relu(x)
        case "Softplus":
            return jax.nn.softplus(x)
        case "GELU":
            return jax.nn.gelu(x, approximate=False)
        case "Sin":
            return jax.numpy.sin(x)
        case "Identity":
            return x
    raise AssertionError(kind)
