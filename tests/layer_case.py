"""A layer of a user's own for the tests: a network around it, a module of torch with the same function, and wrong
versions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Linear, Tanh


def between_linears(layer: nets.Layer) -> list[nets.Layer]:
    """3 → 4 → the layer → 4 → 2."""
    generator = torch.Generator().manual_seed(2)
    return [Linear(3, 4, generator=generator), layer, Tanh(), Linear(4, 2, generator=generator)]


BEFORE = {"0.weight", "0.bias", "input"}
"""The points whose derivatives go through the pullback of layer 1."""


@dataclass(frozen=True)
class LayerCase:
    """One layer of a user's own.

    Attributes:
        layer: makes one.
        torch: makes a module of torch with the same function and the same parameters; its class is registered.
        wrong: what is wrong → (makes a wrong version, the parameters and inputs of the network that must fail).
        around: makes a network's layers around it.
        shape: of a sample of the network's input.
        number: of the layer in the network.
        tokens: of a network of whole numbers: how many there are; 0 for a network of floating-point numbers.
    """

    layer: Callable[[], nets.Layer]
    torch: Callable[[], nn.Module]
    wrong: Mapping[str, tuple[Callable[[], nets.Layer], set[str]]]
    around: Callable[[nets.Layer], list[nets.Layer]] = between_linears
    shape: tuple[int, ...] = (3,)
    number: int = 1
    tokens: int = 0
    x: Tensor = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (3, *self.shape)
        tokens = torch.randint(max(1, self.tokens), shape, generator=generator)
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        object.__setattr__(self, "x", tokens if self.tokens else numbers)

    def network(self, layer: nets.Layer | None = None) -> nets.Network:
        """The layer, or another in its place, in a network."""
        return nets.Network(self.around(self.layer() if layer is None else layer)).double()

    def target(self) -> Tensor:
        """Numbers of the shape of the output."""
        y = self.network()(self.x)
        return torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A module in float64 whose parameters are drawn from one seed, so that nothing is right because it is 0 or 1."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make().double()
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape, dtype=torch.float64) / 2 + 0.25
    return module


def as_class(kind: type[nets.Layer], layer: nets.Layer) -> nets.Layer:
    """The layer with the methods of a subclass of its class."""
    layer.__class__ = kind
    return layer


def of_torch(
    make: Callable[[], nn.Module],
    wrong: Mapping[str, tuple[type[nets.Layer], set[str]]],
    around: Callable[[nets.Layer], list[nets.Layer]] = between_linears,
    shape: tuple[int, ...] = (3,),
    number: int = 1,
    tokens: int = 0,
) -> LayerCase:
    """The case of a layer of the package: it is made from a module of torch, and its wrong versions are subclasses."""

    def layer() -> nets.Layer:
        return nets.Network.from_torch(seeded(make)).layers[0]

    versions = {
        fault: (lambda kind=kind: as_class(kind, layer()), expected)  # type: ignore[misc]
        for fault, (kind, expected) in wrong.items()
    }
    return LayerCase(layer, lambda: seeded(make), versions, around, shape, number, tokens)


def positions(inputs: int, width: int, mixed: int) -> Callable[[nets.Layer], list[nets.Layer]]:
    """(…, inputs) → (…, width) → the layer → (…, mixed), whose last axis is mixed by a Linear layer."""

    def around(layer: nets.Layer) -> list[nets.Layer]:
        generator = torch.Generator().manual_seed(2)
        return [Linear(inputs, width, generator=generator), layer, Tanh(), Linear(mixed, 2, generator=generator)]

    return around
