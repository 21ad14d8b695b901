"""Layers around a shortcut, repeated, side by side, and multiplied.

Index letters are those of `nets.calculus.layer`; m counts the parts. Parameters are named as in `Composite`.
Source: the sum rule and the product rule; residual: He et al., arXiv:1512.03385; gated: Shazeer, arXiv:2002.05202.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor

from nets import validation
from nets.calculus.composite import Composite, Visit
from nets.calculus.layer import Layer
from nets.calculus.mathematics import Mathematics
from nets.calculus.network import Network
from nets.calculus.repetition import repeating
from nets.errors import InputError


class Residual(Network):
    """Y = X + (f_L ∘ … ∘ f_1)(X). Arguments are those of `Network`.

    Raises:
        InputError: in the forward pass, if the last layer does not return the shape of X.
    """

    def steps(self) -> Iterator[tuple[str, Layer]]:
        """This layer alone: X passes its parts and goes past them."""
        yield "", self

    def forward(self, x: Tensor) -> Tensor:
        """Y = X + f(X)."""
        y = self.trace(x)[-1]
        if y.shape != x.shape:
            raise InputError(
                f"the layers of Residual turned X of shape {tuple(x.shape)} into {tuple(y.shape)}; expected the same "
                "shape: the two are added."
            )
        return x + y

    def function(self, m: Mathematics, x: Any, *args: Any, **parameters: Any) -> Any:
        """Y = X + f(X), over the functions m of any engine."""
        return x + super().function(m, x, *args, **parameters)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → v_nj + Σ_i v_ni ∂f_i/∂X_nj."""
        return v + super().pullback(v, x, y)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj → t_ni + Σ_j ∂f_i/∂X_nj t_nj."""
        return t + super().pushforward(t, x, y)


class Repeat(Network):
    """Y = (f ∘ … ∘ f)(X): one layer, applied several times with the same parameters.

    Parameters have the names of the first use, such as '0.weight'. Blocks of the same kind with parameters of their own
    are a `Network` of several layers.

    Args:
        layer: f, which keeps the shape of X.
        times: how often.

    Raises:
        InputError: for a `layer` that is no layer, or fewer than one time.
    """

    def __init__(self, layer: Layer, times: int) -> None:
        super().__init__([layer] * validation.whole("times", times, 1, remedy="say how often the layer is applied"))


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
        return sum(pulled[1:], pulled[0])

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Σ_j ∂f^m_ni/∂X_nj t_nj of each part, joined."""
        outputs = self._outputs_again(x, y)
        pushed = [layer.pushforward(t, x, out) for layer, out in zip(self.parts.values(), outputs, strict=True)]
        return self.joined_tangents(pushed, outputs)

    def visits(self, v: Tensor, x: Tensor, y: Tensor) -> Iterator[Visit]:
        """Each part with its share of v."""
        outputs = self._outputs_again(x, y)
        for (name, layer), share, output in zip(self.parts.items(), self.divided(v, outputs), outputs, strict=True):
            yield Visit(name, layer, share, x, output)

    def _outputs(self, x: Tensor) -> list[Tensor]:
        return [layer(x) for layer in self.parts.values()]

    def _outputs_again(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """The outputs of the forward pass that made Y."""
        with repeating(self, y):
            return self._outputs(x)


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
