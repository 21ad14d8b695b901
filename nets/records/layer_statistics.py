"""What a look at a network found in each of its layers: records, made by `nets.training.gradients.layer_looks`.

A layer is here what textbooks call one: a Linear with the activations behind it, X → Z = W X + B → Y = f(Z), under the name of
its Linear.
"""

import math
from dataclasses import dataclass

FLAT = 0.01
"""|f′| below which an activation passes next to nothing back. tanh gets there at |Z| = 3, where it is within 0.5 % of ±1."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of |f′|, kept to be drawn."""


@dataclass(frozen=True, slots=True)
class Slopes:
    """f′(Z_ni) of one activation, over N samples and I units.

    Attributes:
        name: its place in the network, such as '1'.
        kind: such as 'Tanh'.
        formula: f′ for a reader, such as '1 − Y²'.
        rms: (mean f′²)^½.
        quantiles: of |f′|, see QUANTILES.
        flat: the share of the N·I slopes with |f′| < FLAT.
        zero: the share of them that is exactly 0.
        dead: the share of the I units whose slope is exactly 0 at each of the N samples.
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
class LayerFlow:
    """One layer, X → Z → Y, and the gradient on its way back through it.

    Attributes:
        name: the place of its Linear in the network, such as '0', as in the name of its parameters.
        units: I, the width of Y.
        activations: the slopes of each activation, in order; empty for a Linear alone.
        input_norm: ‖X‖.
        lost: how many of the numbers in Y are not finite.
        weight: ‖W‖_F / √I; one without a Linear, NaN for a layer of another kind, of which nothing is predicted.
        slope: (mean f′²)^½, f′ being the product of the slopes of all its activations; one where there is none.
        cotangents: ‖∂ℓ/∂Y‖, ‖∂ℓ/∂Z‖, ‖∂ℓ/∂X‖.
    """

    name: str
    units: int
    activations: tuple[Slopes, ...]
    input_norm: float
    lost: int
    weight: float
    slope: float
    cotangents: tuple[float, float, float]

    @property
    def predicted(self) -> float:
        """How many times smaller the gradient gets in this layer by the weights and slopes alone: 1 / (weight · slope)."""
        return ratio(1.0, self.weight * self.slope)

    @property
    def measured(self) -> float:
        """How many times smaller it does get: ‖∂ℓ/∂Y‖ / ‖∂ℓ/∂X‖."""
        return ratio(self.cotangents[0], self.cotangents[2])

    @property
    def measured_slope(self) -> float:
        """The part of that which the slopes have: ‖∂ℓ/∂Y‖ / ‖∂ℓ/∂Z‖, predicted as 1 / slope."""
        return ratio(self.cotangents[0], self.cotangents[1])


@dataclass(frozen=True, slots=True)
class Flow:
    """A look at a network after some updates.

    Attributes:
        updates: how many.
        samples: N, the samples it was looked at with.
        layers: from input to output.
    """

    updates: int
    samples: int
    layers: tuple[LayerFlow, ...]


def ratio(large: float, small: float) -> float:
    """large / small; infinite over zero, and NaN where both are zero."""
    if small == 0:
        return math.nan if large == 0 or math.isnan(large) else math.inf
    return large / small
