"""The rules of `tf.GradientTape`: each as a few lines that compute numbers which show it."""

import numpy as np
from numpy.typing import ArrayLike

from nets.lessons.function import Function
from nets.verification.derivations.engines import mathematics
from nets.verification.derivations.engines.loading import load_package
from nets.verification.derivations.engines.reading import Array


def variable(outer: Function, inner: Function, x: ArrayLike) -> dict[str, Array]:
    """z = g(y), y = f(x) of a Variable, which is tracked unasked; a persistent tape gives several gradients."""
    tf, m = load_package("tensorflow"), mathematics.tensorflow()
    with tf.device("/CPU:0"):
        point = tf.Variable(x, dtype=tf.float64)
        with tf.GradientTape(persistent=True) as tape:
            y = inner.forward(m, point)
            z = outer.forward(m, y)
        return {"∂z/∂y": tape.gradient(z, y).numpy(), "∂z/∂x": tape.gradient(z, point).numpy()}


def constant(function: Function, x: ArrayLike) -> dict[str, Array | None]:
    """A constant has no gradient, unless the tape watches it."""
    tf, m = load_package("tensorflow"), mathematics.tensorflow()
    found: dict[str, Array | None] = {}
    with tf.device("/CPU:0"):
        point = tf.constant(x, dtype=tf.float64)
        with tf.GradientTape() as tape:
            y = function.forward(m, point)
        found["not watched"] = tape.gradient(y, point)
        with tf.GradientTape() as tape:
            tape.watch(point)
            y = function.forward(m, point)
        found["watched"] = tape.gradient(y, point).numpy()
    return found


def repeated(function: Function, x: ArrayLike, times: int) -> list[Array]:
    """The gradient of one recording, computed several times: each is a new array, and nothing is added up."""
    tf, m = load_package("tensorflow"), mathematics.tensorflow()
    with tf.device("/CPU:0"):
        point = tf.Variable(x, dtype=tf.float64)
        with tf.GradientTape(persistent=True) as tape:
            y = function.forward(m, point)
        return [np.array(tape.gradient(y, point)) for _ in range(times)]


def summed(function: Function, x: ArrayLike, v: ArrayLike | None = None) -> Array:
    """The gradient of a vector: Σ_i ∂y_i/∂x, or Σ_i v_i ∂y_i/∂x with v as `output_gradients`."""
    tf, m = load_package("tensorflow"), mathematics.tensorflow()
    with tf.device("/CPU:0"):
        point = tf.Variable(x, dtype=tf.float64)
        with tf.GradientTape() as tape:
            y = function.forward(m, point)
        gradient = tape.gradient(y, point, output_gradients=None if v is None else tf.constant(v, dtype=tf.float64))
        return np.array(gradient)
