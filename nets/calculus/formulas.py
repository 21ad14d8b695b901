"""The closed form of each Jacobian of a network, for a reader. Each formula can be evaluated."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from nets.calculus.checks import checked_trace, coupling_layers, unchanged
from nets.calculus.network import Network
from nets.calculus.notation.factors import Factor, Formula, Place, Product, delta

MOST_WRITTEN = 4
"""Layers that mix units up to which `chain_rule` writes each factor; of more only the outer ones are written."""

LETTERS = "lmopqrstuvwxyz"
"""Letters of units that are summed over."""

AXES = "pqrst"
"""Letters of the axes of a sample before the last, such as t of Y_tk."""

INDEX = "ijabcdefgh"
"""Letters of the index of a parameter."""

CHAIN = "A_ki is ∂Y_k/∂Z_i, with Z the output of the parameter's layer (for X, of the first layer that mixes units)"
HIDDEN = "H1 is the output of the first layer, H2 that of the second, …"


def formulas(network: Network, x: Tensor | None = None) -> dict[str, Formula]:
    """Parameter → its Jacobian in index form, such as '∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j'; and ∂Y_k/∂X_j under 'input'.

    X is the input of the network, Y its output, H1, H2, … the outputs of the layers between. Where a layer that mixes
    units lies between a parameter and Y, the product of what lies between is A_ki = ∂Y_k/∂Z_i, with Z the output of the
    parameter's own layer: see `chain_rule`. The derivative of a layer that does not say how it is written has a name,
    such as ∂H2_i/∂H1_j. A formula is absent where it would only repeat its own left side, for a
    parameter with several uses, and where the way from it to Y leads through other samples.

    Args:
        network: layers in sequence.
        x: X, of shape (N, *S), at which the formulas can be evaluated. Without it they are text, for samples that are
            vectors.
    """
    return written_formulas(network, x).formulas


@dataclass(frozen=True)
class WrittenFormulas:
    """The formulas of a network, and what a reader has to know about them.

    Attributes:
        formulas: see `formulas`.
        left_out: a sentence without its full stop for each layer whose symbol is not the derivative.
        legend: definitions of the letters: A, δ, H1 and the letters of symbols; '' if there are none.
    """

    formulas: dict[str, Formula]
    left_out: tuple[str, ...]
    legend: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, and the legend."""
        return tuple(filter(None, (*self.left_out, self.legend)))


def written_formulas(network: Network, x: Tensor | None = None) -> WrittenFormulas:
    """The same as `formulas`, with notes for the reader."""
    chain = _Chain(network, x)
    shared = network.shared_parameters()
    found = {
        name: chain.by_parameter(index, own)
        for index, names in enumerate(network.parameter_names())
        for own, name in names.items()
        if name not in shared and index > chain.coupled
    }
    if chain.coupled < 0 and (x is None or x.is_floating_point()):
        found["input"] = chain.by_input()
    kept = {name: formula for name, formula in found.items() if formula.product.text != formula.head}
    return WrittenFormulas(kept, tuple(chain.left_out()), _legend(kept, layer_outputs(network)[1:-1]))


def _legend(found: Mapping[str, Formula], between: Sequence[str]) -> str:
    """Definitions of the letters of formulas.

    Args:
        found: the formulas.
        between: the names of the values between the layers.
    """
    meanings = [meaning for one in found.values() for factor in one.product.factors for meaning in factor.meanings]
    if any(name in one.product.text for one in found.values() for name in between):
        meanings.append(HIDDEN)
    return f"in the formulas: {'; '.join(dict.fromkeys(meanings))}" if meanings else ""


def chain_rule(network: Network, index: int, x: Tensor | None = None) -> Product:
    """A_ki = ∂Y_k/∂Z_i, with Z the output of layer `index`, such as 'Σ_l (1 − Y_k²) W4_kl (1 − H4_l²) W2_li'.

    For index −1 it is ∂Y_k/∂X_j. W2 is the weight of layer 2. Of more than four layers that mix units only the outer
    ones are written; the numbers are those of all.

    Args:
        network: layers in sequence.
        index: of a layer, or −1.
        x: X, at which the product can be evaluated.
    """
    return _Chain(network, x).rule(index, "j" if index < 0 else "i")


def layer_outputs(network: Network) -> list[str]:
    """X, H1, H2, …, Y: the names of the input and of every layer's output."""
    return ["X", *(f"H{index + 1}" for index in range(len(network) - 1)), "Y"]


def places_of(network: Network, values: Sequence[Tensor] | Sequence[None]) -> list[Place]:
    """The place of each layer.

    Args:
        network: layers in sequence.
        values: [X, output of layer 0, …, Y]; a None for each where only the text is asked for.
    """
    names = layer_outputs(network)
    return [
        Place(i, names[i], names[i + 1], x, y, path, "" if x is None or y is None else layer.symbol_fault(x, y))
        for i, ((path, layer), x, y) in enumerate(zip(network.parts.items(), values, values[1:], strict=False))
    ]


class _Chain:
    """The layers of a network, each with its place."""

    def __init__(self, network: Network, x: Tensor | None) -> None:
        self.layers = network.layers
        last = len(self.layers)
        self.coupled = -1  # the last layer that makes the outputs for one sample depend on another
        values: list[Tensor] | list[None] = [None] * (last + 1)
        if x is not None:
            with unchanged(network):
                values = checked_trace(network, x)
                coupling = coupling_layers(network, values)
            self.coupled = max((index for index, name in enumerate(network.parts) if name in coupling), default=-1)
        self.places = places_of(network, values)
        self.x, self.y = values[0], values[-1]

    def left_out(self) -> Iterator[str]:
        """A sentence for each layer whose symbol is not the derivative, so that no formula contains it."""
        for place, layer in zip(self.places, self.layers, strict=True):
            if place.symbol_fault:
                yield f"the formula of layer {place.path} ({type(layer).__name__}) is left out: {place.symbol_fault}"

    def by_parameter(self, index: int, name: str) -> Formula:
        """∂Y_k/∂θ, with θ a number of a parameter of layer `index`."""
        shape = tuple(self.layers[index].get_parameter(name).shape)
        letters = tuple(INDEX[: len(shape)])
        mixed = bool(self._mixing(index + 1))
        k = "k" if mixed else self._output_letters()
        written, unit, own = self.layers[index].parameter_factors(
            self.places[index], name, letters, LETTERS[0] if mixed else k
        )
        if mixed:
            between = [Factor(f"A_k{unit}", ("k", unit), self.rule(index, unit, letters).numbers, (CHAIN,))]
        else:
            between = [self._delta(unit)] if unit != k else []
            between += self._slopes(index + 1, len(self.layers), k)
        factors = [*between, *own]
        text = _joined(factors) if unit in (k, *letters) else f"Σ_{unit} {_joined(factors)}"
        return self._formula(f"∂Y_{k}/∂{written}", Product(text, tuple(factors), (k, *letters)), shape)

    def by_input(self) -> Formula:
        """∂Y_k/∂X_j."""
        mixing = self._mixing(0)
        factors = [] if mixing else [self._delta("j")]
        above = "k"
        if len(mixing) > 1:
            above = "i"
            factors = [Factor("A_ki", ("k", "i"), self.rule(mixing[0], "i", "j").numbers, (CHAIN,))]
        elif mixing:
            factors = self._slopes(mixing[0] + 1, len(self.layers), "k")
        if mixing:  # the one layer that mixes units, or the first, needs no number
            first = mixing[0]
            factors += self.layers[first].factors(replace(self.places[first], number=None), above, "j")
        factors += self._slopes(0, mixing[0] if mixing else len(self.layers), "j" if mixing else "k")
        text = _joined(factors) if above == "k" else f"Σ_i {_joined(factors)}"
        shape = None if self.x is None else tuple(self.x.shape[1:])
        return self._formula("∂Y_k/∂X_j", Product(text, tuple(factors), ("k", "j")), shape)

    def rule(self, index: int, bottom: str, taken: Sequence[str] = ()) -> Product:
        """∂Y_k/∂Z_bottom, with Z the output of layer `index`, written out; `taken` are letters with another meaning."""
        mixing, ends = self._mixing(index + 1), ("k", bottom)
        if not mixing:
            factors = [self._delta(bottom), *self._slopes(index + 1, len(self.layers), "k")]
            return Product(_joined(factors), tuple(factors), ends)
        few = len(mixing) <= MOST_WRITTEN
        free = [letter for letter in LETTERS if letter not in (bottom, *taken)]
        sums = free[: len(mixing) - 1] if few else [f"·{number}" for number in range(len(mixing) - 1)]
        letters, groups, stop = ["k", *sums, bottom], list[list[Factor]](), len(self.layers)
        for one, above, below in zip(reversed(mixing), letters, letters[1:], strict=False):
            slopes, own = self._slopes(one + 1, stop, above), self.layers[one].factors(self.places[one], above, below)
            groups.append([*slopes, *own])
            stop = one
        groups[-1] += self._slopes(index + 1, stop, bottom)
        factors = [factor for group in groups for factor in group]
        if few:
            return Product(" ".join([*(f"Σ_{letter}" for letter in sums), _joined(factors)]), tuple(factors), ends)
        outer = f"Σ {_joined(groups[0])} … {_joined(groups[-1])}"
        for letter in sums:
            outer = outer.replace(f",{letter}", "·").replace(f"{letter},", "·").replace(letter, "·")
        return Product(outer, tuple(factors), ends)

    def _output_letters(self) -> str:
        """k, or a letter for each axis of a sample of Y, such as tk."""
        more = 0 if self.y is None else self.y.ndim - 2
        return AXES[len(AXES) - more :] + "k" if more else "k"

    def _formula(self, head: str, product: Product, shape: tuple[int, ...] | None) -> Formula:
        return Formula(head, product, None if self.y is None else tuple(self.y.shape[1:]), shape)

    def _mixing(self, start: int) -> list[int]:
        """The layers from `start` on that mix the units of a sample."""
        return [index for index in range(start, len(self.layers)) if not self.layers[index].elementwise]

    def _slopes(self, start: int, stop: int, letter: str) -> list[Factor]:
        """The slopes of the elementwise layers from `start` to before `stop`, last to first."""
        indices = reversed(range(start, stop))
        return [f for index in indices for f in self.layers[index].factors(self.places[index], letter, letter)]

    def _delta(self, letter: str) -> Factor:
        return delta("k", letter, self.y)


def _joined(factors: Sequence[Factor]) -> str:
    return " ".join(factor.text for factor in factors)
