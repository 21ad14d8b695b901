"""∂Y/∂θ by `tf.GradientTape`: TensorFlow's own derivatives of the forward."""

from torch import Tensor

from nets.calculus.network import Network
from nets.verification.derivations.engines import mathematics
from nets.verification.derivations.engines.loading import load_package
from nets.verification.derivations.engines.reading import forward, read, tensors


def jacobians(network: Network, x: Tensor) -> dict[str, Tensor]:
    """The Jacobians of a network, see `Engine` in this package. Its layers are written over `Mathematics`."""
    parameters, points = read(network, x)
    tf, m = load_package("tensorflow"), mathematics.tensorflow()
    with tf.device("/CPU:0"):
        theta = {name: tf.constant(numbers) for name, numbers in parameters.items()}
        x0 = tf.constant(points)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x0, *theta.values()])
            # The tape has no Jacobian of a tensor by itself, which is what a network without layers needs.
            y = forward(network.parts, m, theta, tf.identity(x0))
        # Without pfor: it compiles the loop over the outputs, and from its fifth use on it writes warnings to stderr.
        found = tape.jacobian(y, theta, experimental_use_pfor=False) if theta else {}
        by_input = tape.batch_jacobian(y, x0, experimental_use_pfor=False)
        return tensors(network, {**found, "input": by_input})
