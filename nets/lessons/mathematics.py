"""The few operations that the functions of the source documents are made of, in the arrays of each engine.

Sums, products and powers are Python's own operators, which every engine has taught its arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nets.verification.derivations.engines.loading import load
from nets.verification.derivations.engines.reading import OutOfReachError


@dataclass(frozen=True)
class Mathematics:
    """Attributes:
    array: NumPy numbers → an array of the engine.
    sin, tanh, log: entry by entry.
    sum: of all entries, or along one axis.
    stack: a list of arrays of one shape → one array, with an axis more in front.
    detach: the same numbers, through which no gradient flows.
    """

    array: Callable[..., Any]
    sin: Callable[..., Any]
    tanh: Callable[..., Any]
    log: Callable[..., Any]
    sum: Callable[..., Any]
    stack: Callable[..., Any]
    detach: Callable[..., Any]


def _nothing_is_recorded(_: Any) -> Any:
    raise OutOfReachError("a symbol is its whole history: there is nothing to detach it from.")


PYTORCH = Mathematics(torch.as_tensor, torch.sin, torch.tanh, torch.log, torch.sum, torch.stack, torch.Tensor.detach)
NUMPY = Mathematics(np.asarray, np.sin, np.tanh, np.log, np.sum, np.stack, _nothing_is_recorded)


def sympy() -> Mathematics:
    """Of NumPy arrays whose entries are SymPy expressions."""
    sp = load("sympy")
    sin, tanh, log = (np.vectorize(f, otypes=[object]) for f in (sp.sin, sp.tanh, sp.log))
    return Mathematics(np.asarray, sin, tanh, log, np.sum, np.stack, _nothing_is_recorded)


def tensorflow() -> Mathematics:
    tf = load("tensorflow")
    return Mathematics(tf.constant, tf.sin, tf.tanh, tf.math.log, tf.reduce_sum, tf.stack, tf.stop_gradient)


def jax() -> Mathematics:
    j = load("jax")
    return Mathematics(j.numpy.asarray, j.numpy.sin, j.numpy.tanh, j.numpy.log, j.numpy.sum, j.numpy.stack, j.lax.stop_gradient)
