"""The Jacobians of a network by engines that share no derivative with the layers: NumPy by hand, SymPy, TensorFlow and
JAX.

available: the engines that are installed. Begin here.
reading: parameters and input as arrays, and the forward that all engines share with the layers.
mathematics: the functions of that forward, for each engine.
numpy_by_hand, symbolic, tensorflow_tape, jax_grad: one engine each. loading: import a large package in silence.
"""

from collections.abc import Callable
from importlib.util import find_spec

from torch import Tensor

from nets.calculus.network import Network
from nets.verification.derivations.engines import jax_grad, numpy_by_hand, symbolic, tensorflow_tape
from nets.verification.derivations.engines.reading import OutOfReachError as OutOfReachError

JacobianEngine = Callable[[Network, Tensor], dict[str, Tensor]]
"""(network, X) → {name: ∂Y/∂name} as `nets.calculus.jacobians.jacobians` gives it, dense and in float64.

Raises OutOfReachError for a network that it cannot derive.
"""

_ENGINES: dict[str, tuple[str, JacobianEngine]] = {
    "NumPy by hand": ("numpy", numpy_by_hand.jacobians),
    "SymPy": ("sympy", symbolic.jacobians),
    "TensorFlow": ("tensorflow", tensorflow_tape.jacobians),
    "JAX": ("jax", jax_grad.jacobians),
}


def available() -> dict[str, JacobianEngine]:
    """Name → function of every engine that is installed. Its package is imported when the function is called."""
    return {name: engine for name, (package, engine) in _ENGINES.items() if _installed(package)}


def _installed(package: str) -> bool:
    spec = find_spec(package)
    # A folder of that name, which an uninstalled package may leave behind, has no location.
    return spec is not None and spec.has_location
