"""∂Y/∂θ by `tf.GradientTape`: the forward in TensorFlow, and TensorFlow's own derivatives of it."""

import math
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
    tf = load("tensorflow")
    with tf.device("/CPU:0"):
        theta = {name: tf.constant(numbers) for name, numbers in parameters.items()}
        x0 = tf.constant(points)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x0, *theta.values()])
            y = x0
            for index, kind in enumerate(kinds):
                y = _layer(tf, kind, y, theta.get(f"{index}.weight"), theta.get(f"{index}.bias"))
        # Without pfor, which compiles the loop over the outputs, and the fifth time complains of it on stderr.
        found = tape.jacobian(y, theta, experimental_use_pfor=False) if theta else {}
        by_input = tape.batch_jacobian(y, x0, experimental_use_pfor=False)
        return tensors(parameters, {**found, "input": by_input})


def _layer(tf: Any, kind: str, x: Any, w: Any, b: Any) -> Any:
    match kind:
        case "Linear":
            z = tf.matmul(x, w, transpose_b=True)
            return z if b is None else z + b
        case "Tanh":
            return tf.math.tanh(x)
        case "Sigmoid":
            return tf.math.sigmoid(x)
        case "ReLU":
            return tf.nn.relu(x)
        case "Softplus":
            return tf.math.softplus(x)
        case "GELU":
            # Not tf.nn.gelu, whose 1 + erf cancels where z is far below zero.
            return x * tf.math.erfc(-x * math.sqrt(0.5)) / 2
        case "Sin":
            return tf.math.sin(x)
        case "Identity":
            return tf.identity(x)
    raise AssertionError(kind)
