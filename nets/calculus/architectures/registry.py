"""The networks of a run, by name: how each is made from settings, and a small sibling of it that can be proved.

Every entry of every Jacobian of a network of a million parameters cannot be checked. Its sibling has the same layers in
the same order, made by the same function, with sizes that allow it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from nets.calculus.network import Network, mlp
from nets.errors import InputError
from nets.settings import call
from nets.validation import one_of, seeded

Make = TypeVar("Make", bound=Callable[..., Network])
Inputs = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of network.

    Attributes:
        make: the function whose arguments are the settings.
        classes: the argument that is the number of classes of the data, unless it is set; '' where there is none.
        sizes: the arguments of a sibling; {} where a network is checked itself.
        inputs: makes X of the sibling.
    """

    make: Callable[..., Network]
    classes: str = ""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    inputs: Inputs | None = None

    def network(self, settings: Mapping[str, Any], classes: int | None, generator: torch.Generator) -> Network:
        """The network of these settings.

        Args:
            settings: arguments of `make`.
            classes: the number of classes of the data, or of its tokens; None where it has none.
            generator: of the initial weights.

        Raises:
            InputError: for a setting that is unknown, missing, of another type or out of range, and for data without
                classes.
        """
        given = dict(settings)
        if self.classes and given.get(self.classes) is None:
            if classes is None:
                raise InputError(
                    f"network.{self.classes} is null and the data has no classes; expected data with classes, whose "
                    f"number it is: choose other data, or set network.{self.classes}."
                )
            given[self.classes] = classes
        return call(self.make, given, "network", generator=generator)


@dataclass(frozen=True, slots=True)
class Sibling:
    """A network that is small enough for every entry to be checked.

    Attributes:
        network: has the same layers as the network of the run.
        inputs: X.
        sizes: by what its settings differ.
    """

    network: Network
    inputs: Tensor
    sizes: Mapping[str, Any]

    @property
    def note(self) -> str:
        """What a certificate says about it."""
        sizes = ", ".join(f"{name} {value}" for name, value in self.sizes.items())
        return f"checked is a sibling of the network, with the same layers and smaller sizes: {sizes}"


NETWORKS: dict[str, Architecture] = {"mlp": Architecture(mlp)}
"""Each architecture under its name, as the setting `network` of a run takes it."""


def known_as(name: str, *, classes: str, sizes: Mapping[str, Any], inputs: Inputs) -> Callable[[Make], Make]:
    """Enter a function in NETWORKS; the arguments are those of `Architecture`."""

    def entered(make: Make) -> Make:
        NETWORKS[name] = Architecture(make, classes, sizes, inputs)
        return make

    return entered


def network_of(settings: Mapping[str, Any], classes: int | None, generator: torch.Generator) -> Network:
    """The network that the settings `network` of a run describe, see `Architecture.network`."""
    architecture, own = _chosen(settings)
    return architecture.network(own, classes, generator)


def sibling_of(settings: Mapping[str, Any]) -> Sibling | None:
    """The sibling of the network that the settings describe; None where that network is checked itself.

    Its weights and inputs are always the same: with others, a ReLU could be off at each of the few samples.
    """
    architecture, own = _chosen(settings)
    if architecture.inputs is None:
        return None
    generator = seeded(0)
    network = architecture.network({**own, **architecture.sizes}, None, generator)
    return Sibling(network, architecture.inputs(generator), architecture.sizes)


def _chosen(settings: Mapping[str, Any]) -> tuple[Architecture, dict[str, Any]]:
    name = one_of("network.name", settings.get("name"), tuple(NETWORKS))
    return NETWORKS[name], {key: value for key, value in settings.items() if key != "name"}
