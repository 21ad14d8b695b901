"""∂Y/∂θ by the chain rule, written out in NumPy alone; each derivative stands beside its forward.

Index letters: n sample, i output and j input of a layer. The chain rule runs forward: beside each value Z_ni goes
∂Z_ni/∂θ for every θ met so far, with the axes (n, i, *θ.shape), so that nothing is pulled back. The slopes are taken
from the input, in forms that neither overflow nor cancel; source: Abramowitz, Stegun, "Handbook of Mathematical
Functions", 4.5 and 7.1.
"""

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from nets.calculus.network import Network
from nets.verification.derivations.engines.reading import Array, read, tensors

_erfc = np.vectorize(math.erfc, otypes=[float])


def _logistic(z: Array) -> Array:
    """1 / (1 + e^−z)."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1 + e)


def _sech_squared(z: Array) -> Array:
    """1 / cosh² z = 4 e^−2|z| / (1 + e^−2|z|)²."""
    e = np.exp(-2 * np.abs(z))
    return np.asarray(4 * e / (1 + e) ** 2)


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    # f, f′
    "Tanh": (np.tanh, _sech_squared),
    "Sigmoid": (_logistic, lambda z: _sech_squared(z / 2) / 4),
    "ReLU": (lambda z: np.where(z > 0, z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "Softplus": (lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))), _logistic),
    "GELU": (
        lambda z: z * _erfc(-z / math.sqrt(2)) / 2,
        lambda z: _erfc(-z / math.sqrt(2)) / 2 + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi),
    ),
    "Sin": (np.sin, np.cos),
    "Identity": (lambda z: z, np.ones_like),
}


def jacobians(network: Network, x: Tensor) -> dict[str, Tensor]:
    """∂Y_nk/∂θ, shape (N, K, *θ.shape), for every parameter, and ∂Y_nk/∂X_nj, shape (N, K, J), under 'input'.

    Raises:
        InputError: unless X is a batch (N, J) in the network's precision.
        OutOfReachError: for a layer of an unknown kind.
    """
    kinds, parameters, z = read(network, x)
    # ∂X_nj/∂X_nm = δ_jm to begin with.
    along = {"input": np.broadcast_to(np.eye(z.shape[1]), (len(z), z.shape[1], z.shape[1]))}
    for index, kind in enumerate(kinds):
        if kind == "Linear":
            w, b = parameters[f"{index}.weight"], parameters.get(f"{index}.bias")
            here = np.eye(len(w))
            # ∂Σ_j W_ij Z_nj/∂θ = Σ_j W_ij ∂Z_nj/∂θ, and by its own W_lm: δ_il Z_nm, by its own B_l: δ_il.
            along = {name: np.einsum("ij,nj...->ni...", w, before) for name, before in along.items()}
            along[f"{index}.weight"] = np.einsum("il,nm->nilm", here, z)
            z = np.einsum("ij,nj->ni", w, z)
            if b is not None:
                along[f"{index}.bias"] = np.broadcast_to(here, (len(z), *here.shape))
                z = z + b
        else:
            f, slope = ACTIVATIONS[kind]
            # ∂f(Z_ni)/∂θ = f′(Z_ni) ∂Z_ni/∂θ.
            s = slope(z)
            along = {name: np.einsum("ni,ni...->ni...", s, before) for name, before in along.items()}
            z = f(z)
    return tensors(parameters, along)
