"""∂Y/∂θ by SymPy: expressions, differentiated by symbol, with so many digits that only the result is rounded.

Index letters: n sample, k output of the network, i output and j input of a stage. A stage is a layer with up to four
elementwise layers that follow it; where there are more, they make stages of their own. Each unit of a stage is an
expression in symbols of the stage's inputs and parameters, which SymPy differentiates by each symbol. Units that are
the same expression in other symbols, such as the rows of W X + B, are differentiated once. The chain ∂Y_k/∂X_j = Σ_i
∂Y_k/∂H_i ∂H_i/∂X_j runs over the stages, on numbers, from the last to the first; a network of one stage, such as tanh(W
X + B), is symbolic as a whole.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from nets.calculus.layer import Layer
from nets.calculus.network import Network
from nets.verification.derivations.engines import mathematics
from nets.verification.derivations.engines.loading import load_package
from nets.verification.derivations.engines.mathematics import NUMPY
from nets.verification.derivations.engines.reading import Array, OutOfReachError, forward, read, tensors

MOST_SYMBOLIC_TERMS = 2**15
"""The most terms and evaluations of a network: for each stage, the derivatives of a unit times the inputs and units."""

LONGEST = 5
"""Layers in a stage: the derivative of f∘f∘f∘… grows exponentially for some f, and SymPy recurses into its depth."""

DIGITS = 400
"""With so many digits, 1 − tanh² has sixteen digits left wherever it is not zero in float64, whose smallest number is
5e-324."""

Evaluated = Callable[[list[float]], list[float]]
"""The values of the symbols of a unit → the unit, then its derivative by each of them."""


@dataclass(frozen=True)
class Stage:
    """Some layers in sequence and their parameters, by the names that they have in the network."""

    layers: Mapping[str, Layer]
    parameters: Mapping[str, Array]

    def cost(self, x: Array, y: Array) -> int:
        """The numbers in a unit times the inputs and units, if the parameters are divided evenly among the units."""
        inputs, units = x[0].size, y[0].size
        mixes = any(not layer.elementwise for layer in self.layers.values())
        numbers = (inputs if mixes else 1) + sum(p.size for p in self.parameters.values()) // max(1, units)
        return int(numbers * (inputs * mixes + y.size))


def jacobians(network: Network, x: Tensor) -> dict[str, Tensor]:
    """∂Y_nk/∂θ, shape (N, *K, *θ.shape), for every parameter, and ∂Y_nk/∂X_nj, shape (N, *K, *S), under 'input'.

    Raises:
        InputError: unless X is a batch (N, *S) in the network's precision.
        OutOfReachError: for a layer whose forward is written for PyTorch alone, a network beyond the
            MOST_SYMBOLIC_TERMS, or a number beyond mpmath's reach.
    """
    parameters, points = read(network, x)
    stages = list(_stages(network, parameters))
    values = [points]
    for stage in stages:
        values.append(forward(stage.layers, NUMPY, stage.parameters, values[-1]))
    cost = sum(stage.cost(before, after) for stage, before, after in zip(stages, values, values[1:], strict=False))
    if cost > MOST_SYMBOLIC_TERMS:
        raise OutOfReachError(
            f"SymPy would have to form {cost:,} terms and entries; its budget is {MOST_SYMBOLIC_TERMS:,}."
        )
    shapes, local, h = [value.shape for value in values], list[dict[str, Array]](), points
    for stage, shape in zip(stages, shapes[1:], strict=True):
        h, derivatives = _differentiated(stage, h, shape)
        local.append(derivatives)
    samples, outputs = len(points), shapes[-1][1:]
    a = np.broadcast_to(np.eye(h[0].size), (samples, h[0].size, h[0].size))
    found: dict[str, Array] = {}
    for derivatives in reversed(local):
        pulled = {name: a @ block for name, block in derivatives.items()}
        found |= {
            name: p.reshape(samples, *outputs, *parameters[name].shape) for name, p in pulled.items() if name != "input"
        }
        a = pulled["input"]
    return tensors(network, {**found, "input": a.reshape(samples, *outputs, *points.shape[1:])})


def _stages(network: Network, parameters: Mapping[str, Array]) -> Iterator[Stage]:
    layers, starts = network.layers, [0]
    for index in range(1, len(layers)):
        if not layers[index].elementwise or index - starts[-1] == LONGEST:
            starts.append(index)
    for start, end in pairwise([*starts, len(layers)]):
        some = dict(list(network.parts.items())[start:end])
        yield Stage(some, {name: p for name, p in parameters.items() if name.partition(".")[0] in some})


def _differentiated(stage: Stage, x: Array, shape: tuple[int, ...]) -> tuple[Array, dict[str, Array]]:
    """X_nj → H_ni, and ∂H_ni/∂θ of shape (N, I, P) for every parameter and 'input', with the axes of each flattened."""
    sp, points = load_package("sympy"), {"input": x[0], **stage.parameters}
    symbols = {name: _symbols(sp, name, point.shape) for name, point in points.items()}
    places = {symbol: (name, i) for name, own in symbols.items() for i, symbol in enumerate(own.flat)}
    order = {symbol: number for number, symbol in enumerate(places)}
    h = forward(stage.layers, mathematics.sympy(), symbols, symbols["input"][None])
    known: dict[Any, Evaluated] = {}
    first = next(iter(stage.layers), "")
    units = [_unit(sp, first, sp.sympify(expression), order, known) for expression in np.ravel(h)]
    values = np.empty((len(x), len(units)))
    derivatives = {name: np.zeros((len(x), len(units), point.size)) for name, point in points.items()}
    for n, sample in enumerate(x):
        numbers = {"input": sample, **stage.parameters}
        for i, (used, evaluated) in enumerate(units):
            at = [places[symbol] for symbol in used]
            values[n, i], *slopes = evaluated([float(numbers[name].flat[j]) for name, j in at])
            for (name, j), slope in zip(at, slopes, strict=True):
                derivatives[name][n, i, j] = slope
    return values.reshape(shape), derivatives


def _unit(
    sp: Any, first: str, expression: Any, order: dict[Any, int], known: dict[Any, Evaluated]
) -> tuple[list[Any], Evaluated]:
    """The symbols of a unit, and its function; `known` keeps one for all units that differ in symbols alone."""
    used = sorted(expression.free_symbols, key=order.__getitem__)
    own = sp.symbols(f"s:{len(used)}", real=True)
    same = expression.xreplace(dict(zip(used, own, strict=True)))
    if same not in known:
        results = [same, *(sp.diff(same, symbol) for symbol in own)]
        known[same] = _in_many_digits(sp.lambdify([own], results, "mpmath", cse=True), first)
    return used, known[same]


def _in_many_digits(function: Any, first: str) -> Evaluated:
    mpmath = load_package("mpmath")

    def evaluated(values: list[float]) -> list[float]:
        try:
            with mpmath.workdps(DIGITS):
                return [float(result) for result in function([mpmath.mpf(value) for value in values])]
        except OverflowError as error:  # of erfc, from 1e154 on
            raise OutOfReachError(f"SymPy has no value of layer {first} at so large a number: {error}.") from error

    return evaluated


def _symbols(sp: Any, name: str, shape: tuple[int, ...]) -> Any:
    size = int(np.prod(shape))
    return np.array(sp.symbols(f"{name.replace('.', '_')}_:{size}", real=True), dtype=object).reshape(shape)
