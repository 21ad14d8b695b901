"""What each layer does to the gradient that passes back through it: one look at a network, at some moment of a descent.

Through Z = W X + B, Y = f(Z), the cotangent v = ∂ℓ/∂Y is multiplied by the slopes and then by the weights: ∂ℓ/∂X = (v f′(Z)) W.
For a v that has no preferred direction, each of the two changes its norm by a factor that the layer alone decides,

    ‖v f′‖ ≈ ‖v‖ (mean f′²)^½        ‖v W‖ ≈ ‖v‖ ‖W‖_F / √I = ‖v‖ (J · mean W²)^½

and one over their product is the layer's predicted attenuation. Sources: Glorot, Bengio, "Understanding the difficulty of training
deep feedforward neural networks", AISTATS 2010, eq. 6 (the weights, at a slope of one); Schoenholz et al., "Deep information
propagation", ICLR 2017, arXiv:1611.01232 (with slopes: χ₁ = σ_w² E f′²). How far the measured attenuation is from the predicted
one says how far the gradient is from having no preferred direction.
"""

import functools
import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from nets.calculus.layer import Layer
from nets.calculus.layers import Activation, Linear
from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.records.layer_statistics import FLAT, QUANTILES, Flow, LayerFlow, Slopes


@torch.no_grad()
def gradient_flow(network: Network, loss: Loss, batch: Batch, updates: int = 0) -> Flow:
    """One forward pass and the closed-form backward pass of ℓ over a batch, seen layer by layer.

    It takes about as long as a training step on that batch, and is meant for some fifty moments of a run, not for each step.

    Args:
        network: is left as it is.
        loss: ℓ, where the gradient begins.
        batch: X and targets.
        updates: how many updates the network has had, for the record.
    """
    values = network.trace(batch.inputs)
    layers = network.layers
    outputs = [v for _, v in network.pulled_back(loss.gradient(values[-1], batch.targets), values)]
    cotangents = [layers[0].pullback(outputs[-1], *values[:2]), *reversed(outputs)]
    starts = [index for index, layer in enumerate(layers) if index == 0 or not isinstance(layer, Activation)]
    found = [_layer(layers, values, cotangents, start, stop) for start, stop in pairwise([*starts, len(layers)])]
    return Flow(updates, len(batch.inputs), tuple(found))


def _layer(layers: tuple[Layer, ...], values: list[Tensor], cotangents: list[Tensor], start: int, stop: int) -> LayerFlow:
    """Of the layers from `start` to before `stop`, the first of which may be a Linear, and the others are activations."""
    first = layers[start]
    behind = start if isinstance(first, Activation) else start + 1
    activations = {i: layer for i, layer in enumerate(layers[:stop]) if i >= behind and isinstance(layer, Activation)}
    slopes = {i: activation.slope(values[i], values[i + 1]) for i, activation in activations.items()}
    # A sum of squares in double precision is finite as long as every number in it is.
    y, norm = values[stop], _norm(values[stop])
    return LayerFlow(
        name=str(start),
        units=y.shape[-1],
        activations=tuple(_slopes(str(i), activations[i], slope) for i, slope in slopes.items()),
        input_norm=_norm(values[start]),
        lost=0 if math.isfinite(norm) else int((~y.isfinite()).sum()),
        weight=_weight(first),
        slope=_rms(functools.reduce(torch.mul, slopes.values())) if slopes else 1.0,
        cotangents=(_norm(cotangents[stop]), _norm(cotangents[behind]), _norm(cotangents[start])),
    )


def _slopes(name: str, activation: Activation, slope: Tensor) -> Slopes:
    symbol = "f′({z})" if activation.symbol is None else activation.symbol
    formula = (symbol.format(z="Z", y="Y") or "1").removeprefix("(")
    formula = formula.removesuffix(")") if symbol.startswith("(") else formula
    # NaN comes last, and is neither flat nor zero.
    sizes = np.sort(slope.abs().flatten().cpu().numpy())
    count, zeros = len(sizes), int(np.searchsorted(sizes, 0.0, side="right"))
    return Slopes(
        name=name,
        kind=type(activation).__name__,
        formula=f"|{formula}|" if bool((slope < 0).any()) else formula,
        rms=_rms(slope),
        quantiles=tuple(sizes[[math.ceil(q * count) - 1 for q in QUANTILES]].tolist()),
        flat=int(np.searchsorted(sizes, FLAT)) / count,
        zero=zeros / count,
        dead=float((slope == 0).all(0).double().mean()) if zeros else 0.0,
    )


def _weight(layer: Layer) -> float:
    if isinstance(layer, Linear):
        return _norm(layer.weight) / math.sqrt(layer.weight.shape[0])
    return 1.0 if isinstance(layer, Activation) else math.nan


def _rms(tensor: Tensor) -> float:
    return _norm(tensor) / math.sqrt(tensor.numel())


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
