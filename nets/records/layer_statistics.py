"""The statistics of each layer of a network at one moment of a run; `nets.training.gradients.layer_statistics` computes
them.

Here a layer is what textbooks call one: a layer that mixes units, and the elementwise layers after it, such as X → Z =
W X + B → Y = f(Z). It has the name of the first of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

FLAT = 0.01
"""A slope is called flat if its absolute value is below this. The slope of tanh is that small beyond |Z| = 3, where
tanh is within 0.5 % of ±1."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles of |f′| that are kept for a picture."""


@dataclass(frozen=True, slots=True)
class SlopeStatistics:
    """The slopes f′(Z_ni) of one elementwise layer, over N samples and I units.

    Attributes:
        name: its place in the network, such as '1'.
        kind: its class, such as 'Tanh'.
        formula: f′ for a reader, such as '1 − Y²'.
        rms: (mean f′²)^½.
        quantiles: of |f′|, see QUANTILES.
        flat: the share of the N·I slopes with |f′| < FLAT.
        zero: the share of the slopes that are exactly 0.
        dead: the share of the I units whose slope is exactly 0 for each of the N samples, and at each of their
            positions where a sample has several.
    """

    name: str
    kind: str
    formula: str
    rms: float
    quantiles: tuple[float, ...]
    flat: float
    zero: float
    dead: float


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """One layer, X → Z → Y, and how it changes the gradient in the backward pass.

    Attributes:
        name: its place in the network, such as '0', as in the names of its parameters.
        units: I, the width of Y, or its channels.
        activations: the slopes of each elementwise layer, in order; empty where there is none.
        input_norm: ‖X‖.
        not_finite: the number of entries of Y that are not finite.
        broken_parameters: the number of entries of its parameters that are not finite.
        weight: the factor by which X → Z changes the norm of a cotangent, ‖W‖_F / √I of a Linear; 1 where X is Z.
        slope: (mean f′²)^½, where f′ is the product of the slopes of all its elementwise layers; 1 where there is none.
        cotangents: ‖∂ℓ/∂Y‖, ‖∂ℓ/∂Z‖, ‖∂ℓ/∂X‖.
        kind: the class of the layer X → Z, such as 'Linear'.
    """

    name: str
    units: int
    activations: tuple[SlopeStatistics, ...]
    input_norm: float
    not_finite: int
    broken_parameters: int
    weight: float
    slope: float
    cotangents: tuple[float, float, float]
    kind: str = "Linear"

    @property
    def predicted(self) -> float:
        """The predicted attenuation: 1 / (weight · slope)."""
        return ratio(1.0, self.weight * self.slope)

    @property
    def measured(self) -> float:
        """The measured attenuation: ‖∂ℓ/∂Y‖ / ‖∂ℓ/∂X‖. Below 1 the layer makes the gradient larger."""
        return ratio(self.cotangents[0], self.cotangents[2])

    @property
    def measured_slope(self) -> float:
        """The part of the attenuation by the slopes: ‖∂ℓ/∂Y‖ / ‖∂ℓ/∂Z‖, predicted as 1 / slope."""
        return ratio(self.cotangents[0], self.cotangents[1])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The statistics of all layers at one moment of a run.

    Attributes:
        updates: the number of updates made before.
        samples: N, the samples that were passed through the network.
        layers: from input to output.
        statistics: name of a layer, or of a part of a layer → its `Layer.statistics`, of those that have some.
    """

    updates: int
    samples: int
    layers: tuple[LayerStatistics, ...]
    statistics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def ratio(large: float, small: float) -> float:
    """large / small; infinite over zero, and NaN where both are zero."""
    if small == 0:
        return math.nan if large == 0 or math.isnan(large) else math.inf
    return large / small
