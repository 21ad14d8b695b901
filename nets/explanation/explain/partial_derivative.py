"""∂Y_k/∂θ of one number θ at one sample, and how θ moves the output of its own layer."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nets.calculus.formulas import INDEX, places_of
from nets.calculus.network import Network
from nets.calculus.notation.factors import Factor, Place

FREE = "l"
"""Letter of a unit that a parameter's own layer may replace by the one unit that the number moves."""


@dataclass(frozen=True)
class PartialDerivative:
    """∂Y_k/∂θ at one sample.

    Units of a sample with several axes are counted in the order of `flatten`.

    Attributes:
        network: in float64.
        x: the sample, of shape (1, *S).
        name: of a parameter, or 'input'.
        index: of θ in the parameter, or in the sample.
        output: k.
    """

    network: Network
    x: Tensor
    name: str
    index: tuple[int, ...]
    output: int

    @property
    def layer(self) -> int:
        """The layer that θ is a parameter of; −1 for the input."""
        return -1 if self.name == "input" else list(self.network.parts).index(self.name.partition(".")[0])

    @property
    def parameter(self) -> str:
        """The name of the parameter in its own layer."""
        return self.name.partition(".")[2]

    @property
    def point(self) -> Tensor:
        """The tensor that θ is a number of: the parameter, or the sample."""
        return (self.x[0] if self.layer < 0 else self.network.get_parameter(self.name)).detach()

    @cached_property
    def values(self) -> list[Tensor]:
        """X, H1, …, Y, each of shape (1, *S)."""
        return [value.detach() for value in self.network.trace(self.x)]

    @cached_property
    def places(self) -> list[Place]:
        """The place of each layer: its number and name, and the names and values of its input and output."""
        return places_of(self.network, self.values)

    def label(self, index: int) -> str:
        """How a layer is called: '1 Tanh', or 'head Linear' where the network has names."""
        return f"{self.places[index].path} {type(self.network.layers[index]).__name__}"

    @cached_property
    def effect(self) -> "Effect":
        """How θ moves the output of its own layer; the input is the output of layer −1."""
        if self.layer < 0:
            j = int(np.ravel_multi_index(self.index, self.point.shape))
            return Effect(f"X_{j}", {j: 1.0}, 1.0, (), single=True)
        layer, place = self.network.layers[self.layer], self.places[self.layer]
        tangents = {name: torch.zeros_like(parameter) for name, parameter in layer.named_parameters()}
        tangents[self.parameter][self.index] = 1
        moved = layer.parameter_pushforward(tangents, *place.values())[0].detach().flatten().tolist()
        written, unit, factors = layer.parameter_factors(place, self.parameter, self.index_texts, FREE)
        if unit != FREE:
            return Effect(written, {int(unit): 1.0}, moved[int(unit)], tuple(factors), single=True)
        units = {u: derivative for u, derivative in enumerate(moved) if derivative != 0}
        if units:
            return Effect(written, units, 1.0, tuple(factors), single=False)
        return Effect(written, dict.fromkeys(range(len(moved)), 1.0), 0.0, tuple(factors), single=False)

    @property
    def factors_in_letters(self) -> list[Factor]:
        """∂Z_u/∂θ as the layer of θ writes it in letters, without δ; none for the input."""
        if self.layer < 0:
            return []
        layer, place = self.network.layers[self.layer], self.places[self.layer]
        return layer.parameter_factors(place, self.parameter, INDEX[: len(self.index)], FREE)[2]

    @property
    def index_texts(self) -> list[str]:
        """The index of θ, as a layer takes it in place of letters."""
        return list(map(str, self.index))


@dataclass(frozen=True)
class Effect:
    """∂Z_u/∂θ for the units u of the layer that θ belongs to: units[u] · shared.

    Attributes:
        symbol: θ with its index, such as 'W_2,1'.
        units: the units that θ moves, each with its own part of the derivative; all units if θ moves none.
        shared: the part that all units have in common.
        factors: ∂Z_u/∂θ as the layer writes it, without δ.
        single: whether the layer says that θ moves one unit alone at every sample, as W_ij moves Z_i.
    """

    symbol: str
    units: dict[int, float]
    shared: float
    factors: tuple[Factor, ...]
    single: bool

    @property
    def unit(self) -> int:
        """The one unit that θ moves, or the first of several."""
        return next(iter(self.units))


def number_of(factor: Factor) -> float:
    """The number of a factor whose letters are numbers of units."""
    return float(factor.numbers(0)[tuple(map(int, factor.letters))].detach())
