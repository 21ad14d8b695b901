"""Python for the local Jacobian of a layer and for ∂Z/∂θ of its parameters, with a default for every layer."""

import functools
import keyword
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from nets.calculus.formulas import INDEX
from nets.calculus.layer import Layer
from nets.calculus.layers import Activation, Linear
from nets.calculus.notation.factors import Place
from nets.explanation.explain.partial_derivative import FREE, PartialDerivative


@dataclass(frozen=True)
class LocalCode:
    """The local Jacobian of a layer.

    Attributes:
        name: 'W2' of a weight, 'S1' of a diagonal, 'J1' of another matrix.
        expression: Python in terms of `network` and H, the list of X and every layer's output.
        identity: whether it is one for every unit, so that no code needs it.
    """

    name: str
    expression: str
    identity: bool = False


@dataclass(frozen=True)
class PointCode:
    """θ and ∂Z/∂θ in Python, with Z the output of the layer that θ belongs to.

    Attributes:
        symbol: of the whole parameter: 'W'.
        letters: of the index of θ.
        index: the numbers that these letters stand for.
        unit: the letter among them that is the one unit of Z that θ moves; '' if it may move several.
        leaf: the tensor that θ is a number of.
        pick: the index of θ in a tensor of the shape of the leaf.
        factor: ∂Z_unit/∂θ, with '{unit}' for a unit; '' for one.
        setting: lines that define what the factor needs.
        kronecker: the second factor of the Kronecker product, as a formula and in Python; None for a matrix product.
    """

    symbol: str
    letters: tuple[str, ...]
    index: tuple[int, ...]
    unit: str
    leaf: str
    pick: str
    factor: str = ""
    setting: tuple[str, ...] = ()
    kronecker: tuple[str, str] | None = None

    @property
    def entry(self) -> str:
        """θ with its index in letters: 'W_ij'."""
        return f"{self.symbol}_{''.join(self.letters)}" if self.letters else self.symbol


@functools.singledispatch
def local_jacobian_code(layer: Layer, place: Place) -> LocalCode:
    """∂(output)/∂(input) of a layer for one sample, flattened."""
    letter = "S" if layer.elementwise else "J"
    expression = f"network[{place.number}].local_jacobian({_given(place)})[0]"
    return LocalCode(f"{letter}{place.number}", expression, identity=layer.symbol == "")


@local_jacobian_code.register
def _(layer: Linear, place: Place) -> LocalCode:
    if not place.of_vectors:
        return local_jacobian_code.dispatch(Layer)(layer, place)
    return LocalCode(f"W{place.number}", f"network[{place.number}].weight")


@local_jacobian_code.register
def _(layer: Activation, place: Place) -> LocalCode:
    number = place.number or 0
    slopes = f"network[{number}].slope(H[{number}], H[{number + 1}])"
    return LocalCode(f"S{number}", slopes + ("" if place.of_vectors else ".flatten()"), identity=layer.symbol == "")


def point_code(partial: PartialDerivative) -> PointCode:
    """θ and ∂Z/∂θ in Python."""
    if partial.layer >= 0:
        return parameter_code(partial.network.layers[partial.layer], partial)
    pick = "[0, j]" if partial.x.ndim == 2 else ".flatten()[j]"
    return PointCode("X", ("j",), (partial.effect.unit,), "j", "x", pick)


@functools.singledispatch
def parameter_code(layer: Layer, partial: PartialDerivative) -> PointCode:
    """A parameter of any layer: D is ∂Z/∂θ, the pushforward of one unit tangent."""
    code = _named_parameter(partial)
    tangent = f't["{partial.parameter}"]{code.pick or "[()]"} = 1'
    number, place = partial.layer, partial.places[partial.layer]
    setting = [
        f"t = {{n: torch.zeros_like(p) for n, p in network[{number}].named_parameters()}}",
        tangent,
        f"(D,) = network[{number}].parameter_pushforward(t, {_given(place)})",
    ]
    if not place.of_vectors:
        setting.append("D = D.flatten()")
    factor = f"D[{code.unit}]" if code.unit else "D[{unit}]"
    return replace(code, setting=tuple(setting), factor=factor)


@parameter_code.register
def _(layer: Linear, partial: PartialDerivative) -> PointCode:
    if not partial.places[partial.layer].of_vectors:
        return parameter_code.dispatch(Layer)(layer, partial)
    code, below = _named_parameter(partial), f"H[{partial.layer}]"
    if partial.parameter == "bias":
        return replace(code, symbol="B", kronecker=("1", "A[k, i]"))
    x = partial.places[partial.layer].x_name
    last = f"torch.kron(A[k], {below})[i * len({below}) + j]"
    return replace(code, symbol="W", factor=f"{below}[j]", kronecker=(f"{x}ᵀ", last))


def _named_parameter(partial: PartialDerivative) -> PointCode:
    letters = tuple(INDEX[: len(partial.index)])
    layer, place = partial.network.layers[partial.layer], partial.places[partial.layer]
    _, unit, _ = layer.parameter_factors(place, partial.parameter, letters, FREE)
    plain = all(part.isidentifier() for part in partial.parameter.split("."))
    leaf = f"network[{partial.layer}].{partial.parameter}" if plain else f'network.get_parameter("{partial.name}")'
    pick = f"[{', '.join(letters)}]" if letters else ""
    return PointCode(partial.parameter, letters, partial.index, "" if unit == FREE else unit, leaf, pick)


def python_name(network: nn.Module, path: str) -> str:
    """Python for a part of a network, or for a parameter: network.blocks[0].attention.query.weight."""
    written = "network"
    owner: Any = network
    for name in path.split("."):
        part = getattr(owner, name)
        numbered = name.isdigit() and hasattr(owner, "__getitem__") and int(name) < len(owner)
        if name.isidentifier() and not keyword.iskeyword(name):
            written += f".{name}"
        elif numbered and owner[int(name)] is part:
            written += f"[{name}]"
        else:
            written = f'getattr({written}, "{name}")'
        owner = part
    return written


def _given(place: Place) -> str:
    """The input and the output of a layer, as batches of one sample."""
    number = place.number or 0
    return f"H[{number}][None], H[{number + 1}][None]"
