"""The same formula derived by programs that share nothing with PyTorch."""

from collections.abc import Callable
from importlib.util import find_spec

from torch import Tensor

from nets.calculus.network import Network
from nets.verification.derivations.engines import jax_grad, numpy_by_hand, symbolic, tensorflow_tape
from nets.verification.derivations.engines.reading import OutOfReachError as OutOfReachError

Engine = Callable[[Network, Tensor], dict[str, Tensor]]
"""(network, X) → {name: ∂Y/∂name} as `nets.calculus.jacobians.jacobians` gives it, dense and in float64.

Raises OutOfReachError where it has no way to derive that network.
"""

_ENGINES: dict[str, tuple[str, Engine]] = {
    "NumPy by hand": ("numpy", numpy_by_hand.jacobians),
    "SymPy": ("sympy", symbolic.jacobians),
    "TensorFlow": ("tensorflow", tensorflow_tape.jacobians),
    "JAX": ("jax", jax_grad.jacobians),
}


def available() -> dict[str, Engine]:
    """What it is called → its function, for every engine that is installed; none is imported before it is called."""
    return {name: engine for name, (package, engine) in _ENGINES.items() if _installed(package)}


def _installed(package: str) -> bool:
    spec = find_spec(package)
    # A mere folder of that name, such as an uninstalled package may leave behind, has no location.
    return spec is not None and spec.has_location
