"""∂Y/∂θ by SymPy: expressions, differentiated by symbol, in so many digits that only the result is rounded.

Index letters: n sample, k output of the network, i output and j input of a stage. A stage is a Linear layer with up to
four activations that follow it; where there are more, they make stages of their own. All units of a stage are one
expression, H = f(Σ_j W_j X_j + B), in symbols of its own, which SymPy differentiates by each W_j, X_j and B. The chain
∂Y_k/∂X_j = Σ_i ∂Y_k/∂H_i ∂H_i/∂X_j runs over the stages, on numbers, from the last to the first; a network of one stage,
such as tanh(W X + B), is symbolic as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from nets.calculus.network import Network
from nets.verification.derivations.engines.loading import load
from nets.verification.derivations.engines.reading import Array, OutOfReachError, read, tensors

BUDGET = 2**15
"""What a network may cost: for each stage of I units, 2J + 1 derivatives of J terms, evaluated N·I times."""

LONGEST = 5
"""Layers in a stage: the derivative of f∘f∘f∘… grows exponentially for some f, and SymPy recurses into its depth."""

DIGITS = 400
"""1 − tanh² has sixteen digits left wherever it does not round to zero: the smallest float64 is 5e-324."""


@dataclass(frozen=True)
class Stage:
    """Layers `first` to `first + len(kinds) − 1`, with the parameters of the first, if it is a Linear layer."""

    first: int
    kinds: list[str]
    w: Array | None
    b: Array | None

    def cost(self, samples: int, inputs: int) -> int:
        if self.w is None:
            return 2 * samples * inputs
        units, inputs = self.w.shape
        return (2 * inputs + 1) * (inputs + samples * units)


def jacobians(network: Network, x: Tensor) -> dict[str, Tensor]:
    """∂Y_nk/∂θ, shape (N, K, *θ.shape), for every parameter, and ∂Y_nk/∂X_nj, shape (N, K, J), under 'input'.

    Raises:
        InputError: unless X is a batch (N, J) in the network's precision.
        OutOfReachError: for a layer of an unknown kind, a network beyond the BUDGET, or a number beyond mpmath's reach.
    """
    kinds, parameters, h = read(network, x)
    stages = _stages(kinds, parameters)
    cost = sum(stage.cost(*h.shape) for stage in stages)
    if cost > BUDGET:
        raise OutOfReachError(f"SymPy would have to form {cost:,} terms and entries; its budget is {BUDGET:,}.")
    local: list[dict[str, Array]] = []
    for stage in stages:
        h, derivatives = _differentiated(stage, h)
        local.append(derivatives)
    a = np.broadcast_to(np.eye(h.shape[1]), (len(h), h.shape[1], h.shape[1]))
    found: dict[str, Array] = {}
    for stage, derivatives in zip(reversed(stages), reversed(local), strict=True):
        if "w" in derivatives:
            found[f"{stage.first}.weight"] = np.einsum("nki,nij->nkij", a, derivatives["w"])
        if "b" in derivatives:
            found[f"{stage.first}.bias"] = np.einsum("nki,ni->nki", a, derivatives["b"])
        a = np.einsum("nki,nij->nkj", a, derivatives["x"])
    return tensors(parameters, {**found, "input": a})


def _stages(kinds: list[str], parameters: dict[str, Array]) -> list[Stage]:
    starts = [0]
    for index, kind in enumerate(kinds):
        if index and (kind == "Linear" or index - starts[-1] == LONGEST):
            starts.append(index)
    return [
        Stage(start, kinds[start:end], parameters.get(f"{start}.weight"), parameters.get(f"{start}.bias"))
        for start, end in pairwise([*starts, len(kinds)])
    ]


def _differentiated(stage: Stage, x: Array) -> tuple[Array, dict[str, Array]]:
    """X_nj → H_ni, and by name ∂H_ni/∂W_ij (n, i, j), ∂H_ni/∂B_i (n, i), ∂H_ni/∂X_nj (n, i, j)."""
    unit = _unit(stage)
    if stage.w is None:
        h, slope = np.moveaxis(np.array([[unit([value]) for value in row] for row in x]), -1, 0)
        return h, {"x": slope[:, :, None] * np.eye(x.shape[1])}
    b = np.zeros((len(stage.w), 0)) if stage.b is None else stage.b[:, None]
    values = np.array([[unit([*row, *w, *own]) for w, own in zip(stage.w, b, strict=True)] for row in x])
    by_x, by_w, by_b = np.split(values[..., 1:], [x.shape[1], 2 * x.shape[1]], axis=-1)
    derivatives = {"x": by_x, "w": by_w}
    if stage.b is not None:
        derivatives["b"] = by_b[..., 0]
    return values[..., 0], derivatives


def _unit(stage: Stage) -> Callable[[list[float]], list[float]]:
    """The values of (X_j…, W_j…, B) → H of one unit, then its derivative by each of them."""
    sympy, mpmath = load("sympy"), load("mpmath")
    inputs = 1 if stage.w is None else stage.w.shape[1]
    x = sympy.symbols(f"X:{inputs}", real=True)
    w = () if stage.w is None else sympy.symbols(f"W:{inputs}", real=True)
    b = () if stage.b is None else sympy.symbols("B,", real=True)
    h = x[0] if stage.w is None else sympy.Add(*(w_j * x_j for w_j, x_j in zip(w, x, strict=True)), *b)
    for kind in stage.kinds:
        h = _forward(sympy, kind, h)
    symbols = [*x, *w, *b]
    function = sympy.lambdify([symbols], [h, *(sympy.diff(h, symbol) for symbol in symbols)], "mpmath", cse=True)

    def evaluated(values: list[float]) -> list[float]:
        try:
            with mpmath.workdps(DIGITS):
                return [float(result) for result in function([mpmath.mpf(float(value)) for value in values])]
        except OverflowError as error:  # of erfc, from 1e154 on
            raise OutOfReachError(f"SymPy has no value of layer {stage.first} at so large a number: {error}.") from error

    return evaluated


def _forward(sympy: Any, kind: str, z: Any) -> Any:
    match kind:
        case "Linear" | "Identity":  # the sum of the Linear layer is what z is
            return z
        case "Tanh":
            return sympy.tanh(z)
        case "Sigmoid":
            return 1 / (1 + sympy.exp(-z))
        case "ReLU":
            return sympy.Piecewise((z, z > 0), (0, True))
        case "Softplus":
            return sympy.log(1 + sympy.exp(z))
        case "GELU":
            return z * sympy.erfc(-z / sympy.sqrt(2)) / 2
        case "Sin":
            return sympy.sin(z)
    raise AssertionError(kind)
