"""y = x∘x is recorded, u is y without its history, and z = u∘x: the gradients that reach x through z and through y.

Each engine computes (Σ ∂z/∂x, Σ ∂y/∂x) from one recording.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from nets.verification.derivations.engines.jax_grad import in_double
from nets.verification.derivations.engines.loading import load_package
from nets.verification.derivations.engines.reading import Array


def pytorch(x: ArrayLike) -> tuple[Array, Array]:
    """`detach()`; the record of y remains."""
    point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = point * point
    z = y.detach() * point
    (through_z,) = torch.autograd.grad(z.sum(), point)
    (through_y,) = torch.autograd.grad(y.sum(), point)
    return through_z.numpy(), through_y.numpy()


def tensorflow(x: ArrayLike) -> tuple[Array, Array]:
    """`tf.stop_gradient`, on a persistent tape, since it is used twice."""
    tf = load_package("tensorflow")
    with tf.device("/CPU:0"):
        point = tf.Variable(x, dtype=tf.float64)
        with tf.GradientTape(persistent=True) as tape:
            y = point * point
            z = tf.stop_gradient(y) * point
        return tape.gradient(z, point).numpy(), tape.gradient(y, point).numpy()


def jax(x: ArrayLike) -> tuple[Array, Array]:
    """`jax.lax.stop_gradient`; the two gradients are the pullbacks of two cotangents of one pair (z, y)."""
    j = load_package("jax")

    def pair(point: Any) -> tuple[Any, Any]:
        y = point * point
        return j.lax.stop_gradient(y) * point, y

    with in_double(j):
        (z, y), pullback = j.vjp(pair, j.numpy.asarray(x, dtype=j.numpy.float64))
        nothing, ones = j.numpy.zeros_like(z), j.numpy.ones_like(y)
        return np.array(*pullback((ones, nothing))), np.array(*pullback((nothing, ones)))


ENGINES: dict[str, Callable[[ArrayLike], tuple[Array, Array]]] = {
    "PyTorch": pytorch,
    "TensorFlow": tensorflow,
    "JAX": jax,
}
