"""How each layer changes the gradient in the backward pass, at one moment of a descent.

Through Z = W X + B, Y = f(Z), the cotangent v = ∂ℓ/∂Y is multiplied by the slopes and then by the weights: ∂ℓ/∂X = (v
f′(Z)) W. If v has no preferred direction, each of these two steps changes its norm by a factor that depends on the
layer alone,

    ‖v f′‖ ≈ ‖v‖ (mean f′²)^½        ‖v W‖ ≈ ‖v‖ ‖W‖_F / √I = ‖v‖ (J · mean W²)^½

and the inverse of their product is the predicted attenuation of the layer. For any layer the second factor is
`Layer.backward_gain`. The measured attenuation differs from the predicted one if the gradient has a preferred
direction.

Sources: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010, eq.
6 (the weights, at a slope of one); Schoenholz et al., "Deep information propagation", ICLR 2017, arXiv:1611.01232 (with
slopes: χ₁ = σ_w² E f′²).
"""

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from nets.calculus.checks import unchanged
from nets.calculus.layer import Layer
from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.records.layer_statistics import FLAT, QUANTILES, LayerStatistics, SlopeStatistics, Snapshot


def snapshot(network: Network, loss: Loss, batch: Batch, updates: int = 0) -> Snapshot:
    """The statistics of each layer, from one forward pass and the closed-form backward pass of ℓ over a batch.

    It takes about as long as a training step on that batch. Compute it some fifty times in a run, not at each step.

    Args:
        network: is left as it is.
        loss: ℓ.
        batch: X and targets.
        updates: the number of updates that the network has had, for the record.
    """
    with unchanged(network), _statistics(network) as found:
        layers = tuple(_layers(network, loss, batch))
    return Snapshot(updates, len(batch), layers, found)


def _layers(network: Network, loss: Loss, batch: Batch) -> Iterator[LayerStatistics]:
    names, layers = zip(*network.steps(), strict=True)
    values = [batch.inputs]
    for layer in layers:
        values.append(layer(values[-1]))
    cotangents = [loss.gradient(values[-1], batch.targets)]
    # There is no gradient by an input of whole numbers, such as tokens.
    first = 0 if batch.inputs.is_floating_point() else 1
    for index in reversed(range(first, len(layers))):
        cotangents.insert(0, layers[index].pullback(cotangents[0], values[index], values[index + 1]))
    starts = [index for index, layer in enumerate(layers) if index == first or not layer.elementwise]
    starts = [index for index in starts if index >= first]
    for start, stop in pairwise([*starts, len(layers)]):
        yield _layer(names[first:], layers[first:], values[first:], cotangents, start - first, stop - first)


@contextmanager
def _statistics(network: Network) -> Iterator[dict[str, dict[str, float]]]:
    """A dictionary that a forward pass fills: the statistics of each layer, and of the parts of layers, by name."""
    found: dict[str, dict[str, float]] = {}

    def note(name: str, layer: Layer, x: Tensor, y: Tensor) -> None:
        # The closed-form backward pass of a composite calls its parts again, with the same values.
        if name not in found and (own := layer.statistics(x, y)):
            found[name] = own

    hooks = [
        layer.register_forward_hook(lambda layer, xs, y, name=name: note(name, layer, xs[0], y))
        for name, layer in network.named_modules()
        if isinstance(layer, Layer)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _layer(
    names: tuple[str, ...],
    layers: tuple[Layer, ...],
    values: list[Tensor],
    cotangents: list[Tensor],
    start: int,
    stop: int,
) -> LayerStatistics:
    """The statistics of the layers from `start` to before `stop` as one layer. All but the first are elementwise; the
    first may be."""
    first = layers[start]
    behind = start if first.elementwise else start + 1
    slopes = {i: layers[i].local_jacobian(values[i], values[i + 1]) for i in range(behind, stop)}
    # A sum of squares in double precision is finite as long as every number in it is.
    y, norm = values[stop], _norm(values[stop])
    return LayerStatistics(
        name=names[start],
        units=y.shape[first.unit_axis],
        activations=tuple(
            _slopes(names[i], layers[i], slope, _dead(slope.reshape(y.shape), first.unit_axis))
            for i, slope in slopes.items()
        ),
        input_norm=_norm(values[start]),
        not_finite=0 if math.isfinite(norm) else int((~y.isfinite()).sum()),
        broken_parameters=sum(int((~parameter.isfinite()).sum()) for parameter in first.parameters()),
        weight=1.0 if first.elementwise else first.backward_gain(values[start], values[start + 1]),
        slope=_rms(functools.reduce(torch.mul, slopes.values())) if slopes else 1.0,
        cotangents=(_norm(cotangents[stop]), _norm(cotangents[behind]), _norm(cotangents[start])),
        kind=type(first).__name__,
    )


def _slopes(name: str, layer: Layer, slope: Tensor, dead: float) -> SlopeStatistics:
    symbol = "f′({z})" if layer.symbol is None else layer.symbol
    formula = (symbol.format(z="Z", y="Y") or "1").removeprefix("(")
    formula = formula.removesuffix(")") if symbol.startswith("(") else formula
    # NaN is sorted to the end, and counts neither as flat nor as zero.
    sizes = np.sort(slope.abs().flatten().cpu().numpy())
    count, zeros = len(sizes), int(np.searchsorted(sizes, 0.0, side="right"))
    return SlopeStatistics(
        name=name,
        kind=type(layer).__name__,
        formula=f"|{formula}|" if bool((slope < 0).any()) else formula,
        rms=_rms(slope),
        quantiles=tuple(sizes[[math.ceil(q * count) - 1 for q in QUANTILES]].tolist()),
        flat=int(np.searchsorted(sizes, FLAT)) / count,
        zero=zeros / count,
        dead=dead,
    )


def _dead(slope: Tensor, axis: int) -> float:
    """The share of the units along an axis whose slope is 0 for all samples and positions."""
    units = slope.movedim(axis, -1)
    return float((units == 0).flatten(0, -2).all(0).double().mean())


def _rms(tensor: Tensor) -> float:
    return _norm(tensor) / math.sqrt(tensor.numel())


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
