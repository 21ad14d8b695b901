"""∂Y/∂θ by `jax.jacrev`: JAX's own derivatives of the forward."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from nets.calculus.network import Network
from nets.verification.derivations.engines import mathematics
from nets.verification.derivations.engines.loading import load_package
from nets.verification.derivations.engines.reading import forward, read, tensors


def jacobians(network: Network, x: Tensor) -> dict[str, Tensor]:
    """The Jacobians of a network, see `Engine` in this package. Its layers are written over `Mathematics`."""
    parameters, points = read(network, x)
    jax, m = load_package("jax"), mathematics.jax()

    def of_one(theta: dict[str, Any], x: Any) -> Any:
        """X_j → Y_k, for one sample."""
        return forward(network.parts, m, theta, x[None])[0]

    with in_double(jax):
        # Compiled as a whole, since compiling it operation by operation takes three times as long.
        each_sample = jax.jit(jax.vmap(jax.jacrev(of_one, argnums=(0, 1)), in_axes=(None, 0)))
        by_parameter, by_input = each_sample(parameters, points)
        return tensors(network, {**by_parameter, "input": by_input})


@contextmanager
def in_double(jax: Any) -> Iterator[None]:
    """In float64, on the CPU, whatever the process has set."""
    # An experiment until JAX 0.8; Python 3.10 has none later than 0.6.
    owner = jax if hasattr(jax, "enable_x64") else load_package("jax.experimental")
    with owner.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        yield
