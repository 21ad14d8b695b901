"""A layer at the input that it has within its network: calls of its methods, and differences between their results."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nets.calculus.checked import misshapen, running
from nets.calculus.checks import couples
from nets.calculus.cotangents import MOST_EXACT_ENTRIES
from nets.calculus.layer import Layer
from nets.errors import InputError
from nets.text import index_text
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import signed, stream

FEW = 32
"""Samples of which the gradients are computed one by one. Of a larger batch they are as many, evenly spaced."""

MOST_GRADIENTS = 2**24
"""Numbers in the gradients of all samples that a layer is called with. A layer of layers with more is not held to them,
and its parts are."""

ROUNDING = 2.0**9
"""The rounding of a result that is zero, in units in the last place of the largest number that the layer reads."""


class NotKnownError(InputError):
    """A layer says that it does not know something, such as the gradients of samples that depend on one another."""


class Difference(NamedTuple):
    """A result of an override that does not agree.

    Attributes:
        by: the parameter, or 'input'.
        what: the number that differs, in words.
        source: the method that it is held against.
        found: the number of the override.
        expected: the number that follows from the source.
    """

    by: str
    what: str
    source: str
    found: float
    expected: float


@dataclass(frozen=True)
class LayerInPlace:
    """A layer at its input within the network.

    Attributes:
        name: of the layer, with dots.
        layer: the layer.
        x: its input.
        y: its output.
        seed: of the cotangents and tangents.
    """

    name: str
    layer: Layer
    x: Tensor
    y: Tensor
    seed: int

    @cached_property
    def v(self) -> Tensor:
        """A cotangent of Y: random signs, sizes between 1/2 and 1."""
        return self.random("cotangent", self.y)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """Σ_n Σ_i v_ni ∂Y_ni/∂θ."""
        return self.layer.checked_gradients(self.v, self.x, self.y)

    @cached_property
    def coupled(self) -> bool:
        """Whether samples depend on one another, so that none has a gradient of its own."""
        return couples(self.layer, self.x, self.y)

    @cached_property
    def has_parts(self) -> bool:
        """Whether there are layers within the layer, whose forward pass it repeats for the whole batch."""
        return any(isinstance(part, Layer) for part in self.layer.modules() if part is not self.layer)

    def samples(self, each: int, most: int) -> int:
        """How many samples the layer is called with, where each takes so many numbers and there may be `most`."""
        fit = min(len(self.x), most // max(1, each))
        return 0 if fit < len(self.x) and (self.has_parts or self.coupled) else fit

    @cached_property
    def few(self) -> tuple[Tensor, Tensor, Tensor]:
        """v, X and Y of the samples whose own gradients are computed."""
        n = self.samples(sum(parameter.numel() for parameter in self.layer.parameters()), MOST_GRADIENTS)
        return self.v[:n], self.x[:n], self.y[:n]

    @cached_property
    def few_samples(self) -> Tensor:
        """The numbers of at most FEW samples, the first and the last among them."""
        samples = len(self.few[0])
        return torch.linspace(0, max(0, samples - 1), min(samples, FEW)).round().long()

    @cached_property
    def sample_gradients(self) -> dict[str, Tensor]:
        """Those of `few_samples`, from `gradients` with a cotangent that is zero at all others."""
        v, x, y = self.few
        units = torch.eye(len(v), dtype=v.dtype)[self.few_samples].reshape(-1, len(v), *(1 for _ in v.shape[1:]))
        each = [self.layer.checked_gradients(unit * v, x, y) for unit in units]
        return {name: torch.stack([one[name] for one in each]) for name in (each[0] if each else ())}

    @cached_property
    def local(self) -> tuple[Tensor, Tensor]:
        """X and Y of the samples whose local Jacobians are computed."""
        n = self.samples(self.x[0].numel() * self.y[0].numel(), MOST_EXACT_ENTRIES) if self.x.is_floating_point() else 0
        return self.x[:n], self.y[:n]

    def random(self, purpose: str, like: Tensor) -> Tensor:
        """Random signs and sizes in the shape of a tensor."""
        generator = stream(self.seed, "overrides of a layer", self.name, purpose)
        return signed(like.numel(), generator).to(self.y).reshape(like.shape)

    def call(self, method: str, *arguments: Any) -> Any:
        """The result of an override."""
        with running(self.layer, method, x=self.x, y=self.y):
            try:
                return getattr(self.layer, method)(*arguments)
            except InputError as error:
                raise NotKnownError(str(error)) from error

    def expect(self, method: str, found: object, shape: tuple[int, ...]) -> Tensor:
        """The result of a method, which must be a tensor of this shape."""
        if not isinstance(found, Tensor) or tuple(found.shape) != shape:
            raise misshapen(f"{type(self.layer).__name__}.{method}", found, str(shape))
        return found

    def of_few_samples(self, method: str, like: dict[str, Tensor]) -> dict[str, Tensor]:
        """The result of an override at `few_samples`: a dict of tensors with these names and shapes."""
        found, samples = self.call(method, *self.few), len(self.few[0])
        named = found if isinstance(found, dict) else {}
        return {
            name: self.expect(method, named.get(name), (samples, *tensor.shape[1:]))[self.few_samples]
            for name, tensor in like.items()
        }

    def differences(
        self, by: str, what: str, source: str, found: Tensor, expected: Tensor, samples: Tensor | None = None
    ) -> Iterator[Difference]:
        """The entry that differs by the most, if any differs by more than rounding. `samples` are the numbers of the
        samples that are compared; all if not given."""
        error = (found - expected).abs().nan_to_num(nan=torch.inf)
        if largest(error) > self._allowed(largest(expected)):
            index = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
            named = index if samples is None else (int(samples[index[0]]), *index[1:])
            yield Difference(by, what + index_text(named), source, float(found[index]), float(expected[index]))

    def different_sums(self, by: str, what: str, source: str, found: Tensor, expected: Tensor) -> Iterator[Difference]:
        """The same of the sums of these terms."""
        one, other = float(found.sum()), float(expected.sum())
        if not abs(one - other) <= self._allowed(float(expected.abs().sum())):
            yield Difference(by, what, source, one, other)

    def _allowed(self, size: float) -> float:
        """The difference that rounding explains, of numbers of this size."""
        unit = torch.finfo(self.y.dtype).eps
        return max(unit**0.5 * size, ROUNDING * unit * self._scale)

    @cached_property
    def _scale(self) -> float:
        """The largest number that the layer reads or returns, and at least 1, the size of the cotangents."""
        return max(1.0, *(largest(tensor) for tensor in (self.x, self.y, *self.layer.parameters())))
