"""A layer made of layers: its derivatives follow from those of its parts by the chain rule.

A parameter has the name of its part in front, as in `torch.nn`: 'attention.query.weight'. Several parts may contain the
same layer or parameter. It is then one parameter, under the first of its names, and its gradients and Jacobians are
summed over its uses.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar, cast

from torch import Tensor
from typing_extensions import Self

from nets.calculus.jacobian import Jacobian, add_use
from nets.calculus.layer import Layer
from nets.calculus.norms import row_norms
from nets.calculus.parameters import add_by_name, first_names, prefixed, separated
from nets.calculus.repetition import keep, state_before
from nets.errors import InputError
from nets.torch_internals import own_modules

Parts = Iterable[Layer] | Mapping[str, Layer]
"""Layers in order, which are named '0', '1', …; or by their names."""

Value = TypeVar("Value")


class Visit(NamedTuple):
    """One part in the backward pass: its name, itself, the cotangent v of its output, its input x and its output y."""

    name: str
    layer: Layer
    v: Tensor
    x: Tensor
    y: Tensor


class Composite(Layer):
    """A layer made of layers. A subclass defines `forward`, `pullback` and `visits`.

    Each pullback computes the values between the parts again, in the context `repeating`; a recording computes them
    once.

    Args:
        parts: the layers, see `Parts`.

    Raises:
        InputError: for a part that is not a layer, or a name that a part cannot have.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        named = parts if isinstance(parts, Mapping) else {str(n): layer for n, layer in enumerate(_listed(parts))}
        for name, layer in named.items():
            if not isinstance(layer, Layer):
                raise InputError(
                    f"layer {name} of a {type(self).__name__} is a {type(layer).__name__}; expected a nets.Layer: "
                    "convert a torch.nn.Sequential with Network.from_torch."
                )
            if not isinstance(name, str) or not name or "." in name or hasattr(self, name):
                raise InputError(
                    f"a part of a {type(self).__name__} has the name {name!r}; expected a text without a dot that is "
                    "no attribute of the layer: give the part another name."
                )
        for name, layer in zip(named, separated(named.values()), strict=True):
            self.add_module(name, layer)

    @classmethod
    def around(cls, parts: Mapping[str, Layer]) -> Self:
        """The layer made of parts that another layer has checked already: it takes a hundredth of the time."""
        layer = cls.__new__(cls)
        Layer.__init__(layer)
        own_modules(layer).update(parts)
        return layer

    def __call__(self, x: Tensor) -> Tensor:
        """Y. The random numbers of the parts are kept for the pullback, see `repetition`."""
        before = state_before(self)
        y = cast("Tensor", super().__call__(x))
        if before:
            keep(before, y)
        return y

    @property
    def parts(self) -> dict[str, Layer]:
        """The layers by their names, first to last."""
        return cast("dict[str, Layer]", self._modules)

    @abstractmethod
    def visits(self, v: Tensor, x: Tensor, y: Tensor) -> Iterator[Visit]:
        """Each part with the cotangent of its own output, as the chain rule carries it back from v = ∂ℓ/∂Y."""

    def names_by_part(self) -> dict[str, dict[str, str]]:
        """Of each part: the name of a parameter in the part → its name here."""
        first = first_names(self)
        return {
            part: {name: first[f"{part}.{name}"] for name, _ in layer.named_parameters()}
            for part, layer in self.parts.items()
        }

    def shared_parameters(self) -> set[str]:
        """The names of the parameters that several parts use."""
        used = Counter(name for names in self.names_by_part().values() for name in names.values())
        return {name for name, uses in used.items() if uses > 1}

    def function_buffers(self) -> dict[str, Tensor]:
        """The buffers that the functions of the parts take as arguments, by name."""
        each = (prefixed(part, layer.function_buffers()) for part, layer in self.parts.items())
        return {name: buffer for own in each for name, buffer in own.items()}

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """v_ni → Σ_n Σ_i v_ni ∂Y_ni/∂θ for every parameter θ, by name; the sum over all uses of θ."""
        return self._summed(Layer.checked_gradients, self.visits(v, x, y))

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """v_ni → Σ_i v_ni ∂Y_ni/∂θ of each sample n for every parameter θ, by name; the sum over all uses of θ."""
        return self._summed(lambda layer, *at: layer.sample_gradients(*at), self.visits(v, x, y))

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """‖Σ_i v_ni ∂Y_ni/∂θ‖ of each sample n, from the parts' own norms; see `NormsByName` for shared parameters."""
        found, names = NormsByName(self.shared_parameters()), self.names_by_part()
        for part, layer, *at in self.visits(v, x, y):
            found.add(names[part], layer, at)
        return self._in_order(found.norms())

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        """∂Y_nk/∂θ of each part, with ∂Y_nk/∂Z_ni of its own output Z; the sum over all uses of θ."""
        names, found = self.names_by_part(), dict[str, Jacobian]()
        for part, layer, *at in self.visits(a, x, y):
            for own, jacobian in layer.jacobians(*at).items():
                add_use(found, names[part][own], jacobian)
        return self._in_order(found)

    def _summed(self, derivative: Callable[..., dict[str, Tensor]], visits: Iterable[Visit]) -> dict[str, Tensor]:
        """derivative(layer, v, x, y) of each part, by name, added up over the uses of a parameter."""
        names, total = self.names_by_part(), dict[str, Tensor]()
        for part, layer, *at in visits:
            add_by_name(total, names[part], derivative(layer, *at))
        return self._in_order(total)

    def _in_order(self, found: dict[str, Value]) -> dict[str, Value]:
        """The same in the order of the parameters."""
        return {name: found[name] for name, _ in self.named_parameters() if name in found}


class NormsByName:
    """‖Σ_i v_ni ∂Y_ni/∂θ‖ of each sample n, collected from the parts of a network.

    Norms of several uses of a parameter do not add up. So a part with a shared parameter gives the gradients of each
    sample, which do.

    Args:
        shared: the names of the parameters that several parts use.
    """

    def __init__(self, shared: set[str]) -> None:
        self._shared, self._norms, self._terms = shared, dict[str, Tensor](), dict[str, Tensor]()

    def add(self, names: Mapping[str, str], layer: Layer, at: Iterable[Tensor]) -> None:
        """Add a part.

        Args:
            names: of a parameter in the part → its name in the network.
            layer: the part.
            at: its v, x and y.
        """
        if self._shared.isdisjoint(names.values()):
            add_by_name(self._norms, names, layer.sample_norms(*at))
        else:
            add_by_name(self._terms, names, layer.sample_gradients(*at))

    def norms(self) -> dict[str, Tensor]:
        """The norms of all parts that were added, by name."""
        return self._norms | {name: row_norms(term.flatten(1)) for name, term in self._terms.items()}


def _listed(parts: object) -> list[Layer]:
    """The parts as a list; a single layer is one part."""
    return list(parts) if isinstance(parts, Iterable) else [cast("Layer", parts)]
