"""Layers made of layers: in sequence, around a shortcut, side by side, multiplied.

Index letters are those of `nets.calculus.layer`; m counts the parts. A parameter has the name of its part in front, as
in `torch.nn`: 'attention.query.weight'. A layer, or a parameter, may stand in several parts: it is one parameter under
the first of its names, and its gradients and Jacobians add up.
Source: the product rule and the sum rule; residual: He et al., arXiv:1512.03385; gated: Shazeer, arXiv:2002.05202.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from nets.calculus.jacobian import DenseJacobian, Jacobian
from nets.calculus.layer import Layer
from nets.errors import InputError

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

    Args:
        layers: the parts, in a list or in a dictionary by their names. Parts of a list are named '0', '1', ….

    Raises:
        InputError: unless there is at least one part and each is a layer.
    """

    def __init__(self, layers: Iterable[Layer] | Mapping[str, Layer]) -> None:
        super().__init__()
        named = layers if isinstance(layers, Mapping) else {str(index): layer for index, layer in enumerate(layers)}
        if not named:
            raise InputError(f"{type(self).__name__} has no layers; expected at least one.")
        for name, layer in named.items():
            if not isinstance(layer, Layer):
                raise InputError(
                    f"layer {name} of {type(self).__name__} is a {type(layer).__name__}; expected a nets.Layer: convert "
                    "a torch.nn.Sequential with nets.Network.from_torch."
                )
            self.add_module(name, layer)

    @property
    def parts(self) -> dict[str, Layer]:
        """The parts by their names, first to last."""
        return cast("dict[str, Layer]", self._modules)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """X_nj → Y_ni."""

    @abstractmethod
    def visits(self, v: Tensor, x: Tensor, y: Tensor) -> Iterator[Visit]:
        """Each part with the cotangent of its own output, as the chain rule carries it back from v = ∂ℓ/∂Y."""

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The gradients of each part; those of a shared parameter are added."""
        return self._added((visit.name, visit.layer.checked_gradients(*visit[2:])) for visit in self.visits(v, x, y))

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Those of each part; those of a shared parameter are added."""
        return self._added((visit.name, visit.layer.sample_gradients(*visit[2:])) for visit in self.visits(v, x, y))

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Those of each part. A shared parameter has the norm of the sum of its gradients, which is formed."""
        if len(self._names()) > len(set(self._names().values())):
            return super().sample_norms(v, x, y)
        return self._added((visit.name, visit.layer.sample_norms(*visit[2:])) for visit in self.visits(v, x, y))

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        """Those of each part, with ∂Y_nk/∂Z_ni of its own output Z; those of a shared parameter are added."""
        parts = [(visit.name, visit.layer.jacobians(*visit[2:])) for visit in self.visits(a, x, y)]
        if len(self._names()) == len(set(self._names().values())):
            return {f"{part}.{name}": jacobian for part, found in parts for name, jacobian in found.items()}
        dense = [(part, {name: jacobian.dense() for name, jacobian in found.items()}) for part, found in parts]
        return {name: DenseJacobian(every) for name, every in self._added(dense).items()}

    def _added(self, parts: Iterable[tuple[str, dict[str, Tensor]]]) -> dict[str, Tensor]:
        """The tensors of all parts by the names of the parameters, added where a name stands twice."""
        names, found = self._names(), dict[str, Tensor]()
        for part, tensors in parts:
            for inner, tensor in tensors.items():
                name = names[f"{part}.{inner}"]
                found[name] = found[name] + tensor if name in found else tensor
        return {name: found[name] for name, _ in self.named_parameters()}

    def _names(self) -> dict[str, str]:
        """Every name of a parameter → its first name, which `named_parameters` gives."""
        first: dict[Tensor, str] = {}
        return {name: first.setdefault(p, name) for name, p in self.named_parameters(remove_duplicate=False)}


class Sequential(Composite):
    """Y = (f_M ∘ … ∘ f_1)(X). Arguments and errors are those of `Composite`."""

    def forward(self, x: Tensor) -> Tensor:
        """Y = (f_M ∘ … ∘ f_1)(X)."""
        return self._trace(x)[-1]

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni ← Σ_i v_ni ∂Z_ni/∂X_nj for each part, from the last to the first."""
        *_, first = self.visits(v, x, y)
        return first.layer.pullback(*first[2:])

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj ← Σ_j ∂Z_ni/∂X_nj t_nj for each part, from the first to the last."""
        values = self._trace(x)
        for layer, before, after in zip(self.parts.values(), values, values[1:]):
            t = layer.pushforward(t, before, after)
        return t

    def visits(self, v: Tensor, x: Tensor, y: Tensor) -> Iterator[Visit]:
        """The last part first."""
        values = self._trace(x)
        each = [*zip(self.parts.items(), values, values[1:], strict=False)]
        for number, ((name, layer), before, after) in reversed(list(enumerate(each))):
            yield Visit(name, layer, v, before, after)
            if number:
                v = layer.pullback(v, before, after)

    def _trace(self, x: Tensor) -> list[Tensor]:
        """[X, output of the first part, …, Y]."""
        values = [x]
        for layer in self.parts.values():
            values.append(layer(values[-1]))
        return values


class Residual(Sequential):
    """Y = X + (f_M ∘ … ∘ f_1)(X). Arguments and errors are those of `Composite`.

    Raises:
        InputError: in the forward pass, if the last part does not return the shape of X.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Y = X + f(X)."""
        y = super().forward(x)
        if y.shape != x.shape:
            raise InputError(
                f"the layers of Residual turned X of shape {tuple(x.shape)} into {tuple(y.shape)}; expected the same "
                "shape: the two are added."
            )
        return x + y

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → v_nj + Σ_i v_ni ∂f_i/∂X_nj."""
        return v + super().pullback(v, x, y)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj → t_ni + Σ_j ∂f_i/∂X_nj t_nj."""
        return t + super().pushforward(t, x, y)


class SideBySide(Composite):
    """Parts that read the same X. A subclass says how their outputs become Y and how v is divided among them."""

    @abstractmethod
    def joined(self, outputs: list[Tensor]) -> Tensor:
        """The outputs of the parts → Y."""

    @abstractmethod
    def divided(self, v: Tensor, outputs: list[Tensor]) -> Iterable[Tensor]:
        """v → the cotangent of each part's output."""

    @abstractmethod
    def joined_tangents(self, tangents: list[Tensor], outputs: list[Tensor]) -> Tensor:
        """The tangents of the outputs → that of Y."""

    def forward(self, x: Tensor) -> Tensor:
        """X → every part → Y."""
        return self.joined(self._outputs(x))

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v → Σ_m Σ_i v^m_ni ∂f^m_ni/∂X_nj."""
        pulled = [visit.layer.pullback(*visit[2:]) for visit in self.visits(v, x, y)]
        return torch.stack(pulled).sum(0) if len(pulled) > 2 else sum(pulled[1:], pulled[0])

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Σ_j ∂f^m_ni/∂X_nj t_nj of each part, joined."""
        outputs = self._outputs(x)
        pushed = [layer.pushforward(t, x, out) for layer, out in zip(self.parts.values(), outputs, strict=True)]
        return self.joined_tangents(pushed, outputs)

    def visits(self, v: Tensor, x: Tensor, y: Tensor) -> Iterator[Visit]:
        """Each part with its share of v."""
        outputs = self._outputs(x)
        for (name, layer), share, output in zip(self.parts.items(), self.divided(v, outputs), outputs, strict=True):
            yield Visit(name, layer, share, x, output)

    def _outputs(self, x: Tensor) -> list[Tensor]:
        return [layer(x) for layer in self.parts.values()]


class Concatenate(SideBySide):
    """Y = (f_1(X), …, f_M(X)), one after the other along the last axis. Arguments are those of `Composite`."""

    def joined(self, outputs: list[Tensor]) -> Tensor:
        """Y = (f_1, …, f_M)."""
        return torch.cat(outputs, -1)

    def divided(self, v: Tensor, outputs: list[Tensor]) -> Iterable[Tensor]:
        """Each part has its own entries of v."""
        return v.split([output.shape[-1] for output in outputs], -1)

    def joined_tangents(self, tangents: list[Tensor], outputs: list[Tensor]) -> Tensor:
        """One after the other."""
        return torch.cat(tangents, -1)


class Sum(SideBySide):
    """Y = Σ_m f_m(X). Arguments are those of `Composite`."""

    def joined(self, outputs: list[Tensor]) -> Tensor:
        """Y = Σ_m f_m."""
        return sum(outputs[1:], outputs[0])

    def divided(self, v: Tensor, outputs: list[Tensor]) -> Iterable[Tensor]:
        """∂Y_i/∂f^m_i = 1, so each part has v."""
        return [v] * len(outputs)

    def joined_tangents(self, tangents: list[Tensor], outputs: list[Tensor]) -> Tensor:
        """Their sum."""
        return sum(tangents[1:], tangents[0])


class Product(SideBySide):
    """Y_ni = Π_m f^m_ni(X). A gate is the case of two parts. Arguments are those of `Composite`."""

    def joined(self, outputs: list[Tensor]) -> Tensor:
        """Y = Π_m f_m."""
        return prod(outputs[1:], start=outputs[0])

    def divided(self, v: Tensor, outputs: list[Tensor]) -> Iterable[Tensor]:
        """∂Y_i/∂f^m_i = Π_{l ≠ m} f^l_i."""
        return [prod(outputs[:m] + outputs[m + 1 :], start=v) for m in range(len(outputs))]

    def joined_tangents(self, tangents: list[Tensor], outputs: list[Tensor]) -> Tensor:
        """Σ_m t^m_i Π_{l ≠ m} f^l_i."""
        each = [prod(outputs[:m] + outputs[m + 1 :], start=tangent) for m, tangent in enumerate(tangents)]
        return sum(each[1:], each[0])
