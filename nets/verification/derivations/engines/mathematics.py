"""The functions of `nets.calculus.mathematics` in NumPy, SymPy, TensorFlow and JAX. A package is imported at its first
use."""

import math
from typing import Any

import numpy as np

from nets.calculus.mathematics import Mathematics, from_module
from nets.verification.derivations.engines.loading import load_package
from nets.verification.derivations.engines.reading import Array, OutOfReachError


def _not_detached(_: Any) -> Any:
    raise OutOfReachError("a symbol is its whole history: it cannot be detached.")


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    y = x @ weight.T
    return y if bias is None else y + bias


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^−z), without an overflow."""
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, e) / (1 + e))


NUMPY = from_module(
    np,
    array=np.asarray,
    sigmoid=sigmoid,
    erfc=np.vectorize(math.erfc, otypes=[float]),
    softplus=lambda z: np.logaddexp(z, 0),
    relu=lambda z: np.maximum(z, 0),
    where_positive=lambda x, a, b: np.where(x > 0, a, b),
    linear=_linear,
    detach=_not_detached,
)


def sympy() -> Mathematics:
    """For NumPy arrays whose entries are SymPy expressions."""
    sp = load_package("sympy")

    def entrywise(function: Any) -> Any:
        return np.vectorize(function, otypes=[object])

    return from_module(
        np,
        array=np.asarray,
        **{name: entrywise(getattr(sp, name)) for name in ("exp", "log", "sqrt", "sin", "cos", "tanh", "erfc")},
        sigmoid=entrywise(lambda z: 1 / (1 + sp.exp(-z))),
        softplus=entrywise(lambda z: sp.log(1 + sp.exp(z))),
        relu=entrywise(lambda z: sp.Piecewise((z, z > 0), (0, True))),
        where_positive=entrywise(lambda x, a, b: sp.Piecewise((a, x > 0), (b, True))),
        linear=_linear,
        detach=_not_detached,
    )


def tensorflow() -> Mathematics:
    """For tensors of TensorFlow."""
    tf = load_package("tensorflow")

    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        y = tf.matmul(x, weight, transpose_b=True)
        return y if bias is None else y + bias

    return from_module(
        tf.math,
        array=tf.constant,
        relu=tf.nn.relu,
        where_positive=lambda x, a, b: tf.where(x > 0, a, b),
        sum=tf.reduce_sum,
        mean=tf.reduce_mean,
        reshape=tf.reshape,
        stack=tf.stack,
        linear=linear,
        detach=tf.stop_gradient,
    )


def jax() -> Mathematics:
    """For arrays of JAX."""
    j = load_package("jax")
    return from_module(
        j.numpy,
        array=j.numpy.asarray,
        sigmoid=j.nn.sigmoid,
        erfc=j.scipy.special.erfc,
        softplus=j.nn.softplus,
        relu=j.nn.relu,
        where_positive=lambda x, a, b: j.numpy.where(x > 0, a, b),
        linear=_linear,
        detach=j.lax.stop_gradient,
    )
