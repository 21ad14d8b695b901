"""The methods that a layer overrides, against what `nets.Layer` derives in their place.

The Jacobians, which are checked entry by entry, use forward, `pullback`, `gradients` and `jacobians` alone. An override
of another method may be wrong and show in none of them. So each layer is called once more, at the input that it has
within the network, with a random cotangent v_ni and random tangents t_nj and t_θ. These must be equal:

| override | its result | what follows from the other methods |
| --- | --- | --- |
| `pushforward` | Σ_n Σ_i v_ni (Σ_j ∂Y_ni/∂X_nj t_nj) | Σ_n Σ_j t_nj `pullback`(v)_nj |
| `parameter_pushforward` | Σ_n Σ_i v_ni (∂Y_ni/∂θ t_θ), for each θ | Σ t_θ `gradients`(v)_θ |
| `sample_gradients`, `sample_norms` | of FEW samples | `gradients`, for each sample alone |
| `local_jacobian` | Σ_i v_i ∂Y_ni/∂X_nj, with the same v in each sample | `pullback`(v) |
| `backward_gain` | (Σ_n ‖∂Y_n/∂X_n‖_F² / (N I))^½ | `pullback` of each unit |
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nets.calculus.checked import misshapen, running
from nets.calculus.checks import couples
from nets.calculus.cotangents import MOST_ENTRIES
from nets.calculus.layer import Layer
from nets.errors import InputError
from nets.records.check import Check
from nets.records.location import Location
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import distinct_digits, index_text
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import signed, stream

FEW = 4
"""Samples of which the gradients and the local Jacobians are computed one by one."""

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
class Place:
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
    def sample_gradients(self) -> dict[str, Tensor]:
        """Those of the first FEW samples, from `gradients` alone."""
        return Layer.sample_gradients(self.layer, self.v[:FEW], self.x[:FEW], self.y[:FEW])

    def within_bounds(self) -> tuple[Tensor, Tensor]:
        """X and Y of as many samples, FEW at most, as have local Jacobians of MOST_ENTRIES numbers together."""
        most = min(FEW, MOST_ENTRIES // max(1, self.x[0].numel() * self.y[0].numel()))
        return (self.x, self.y) if self.coupled else (self.x[:most], self.y[:most])

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
        """The result of an override at the first FEW samples: a dict of tensors with these names and shapes."""
        found = self.call(method, self.v[:FEW], self.x[:FEW], self.y[:FEW])
        named = found if isinstance(found, dict) else {}
        return {name: self.expect(method, named.get(name), tuple(tensor.shape)) for name, tensor in like.items()}

    def differences(self, by: str, what: str, source: str, found: Tensor, expected: Tensor) -> Iterator[Difference]:
        """The entry that differs by the most, if any differs by more than rounding."""
        error = (found - expected).abs().nan_to_num(nan=torch.inf)
        if largest(error) > self._allowed(largest(expected)):
            index = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
            yield Difference(by, what + index_text(index), source, float(found[index]), float(expected[index]))

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


def _of_pushforward(place: Place) -> Iterator[Difference]:
    if not place.x.is_floating_point():
        return
    layer, x, y, t = place.layer, place.x, place.y, place.random("tangent", place.x)
    pushed = place.expect("pushforward", place.call("pushforward", t, x, y), tuple(y.shape))
    pulled = layer.checked_pullback(place.v, x, y)
    what = "the sum of its numbers with random weights, for a random tangent,"
    yield from place.different_sums("input", what, "pullback", place.v * pushed, pulled * t)


def _of_parameter_pushforward(place: Place) -> Iterator[Difference]:
    still = {name: torch.zeros_like(gradient) for name, gradient in place.gradients.items()}
    for name, gradient in place.gradients.items():
        t = place.random(f"tangent of {name}", gradient)
        pushed = place.call("parameter_pushforward", {**still, name: t}, place.x, place.y)
        pushed = place.expect("parameter_pushforward", pushed, tuple(place.y.shape))
        what = f"the sum of its numbers with random weights, for a random tangent of {name},"
        yield from place.different_sums(name, what, "gradients", place.v * pushed, gradient * t)


def _of_sample_gradients(place: Place) -> Iterator[Difference]:
    expected = place.sample_gradients
    for name, gradients in place.of_few_samples("sample_gradients", expected).items():
        yield from place.differences(name, f"the gradient of {name} at ", "gradients", gradients, expected[name])


def _of_sample_norms(place: Place) -> Iterator[Difference]:
    expected = {name: each.flatten(1).norm(dim=1) for name, each in place.sample_gradients.items()}
    for name, norms in place.of_few_samples("sample_norms", expected).items():
        what = f"the norm of the gradient of {name} at sample "
        yield from place.differences(name, what, "gradients", norms, expected[name])


def _of_local_jacobian(place: Place) -> Iterator[Difference]:
    x, y = place.within_bounds()
    if not len(x) or not x.is_floating_point():
        return
    v = place.v[:1].expand(y.shape)
    pulled, weights = place.layer.checked_pullback(v, x, y).flatten(1), v.flatten(1)
    shape = y.flatten(1).shape if place.layer.elementwise else (*y.flatten(1).shape, pulled.shape[1])
    found = place.expect("local_jacobian", place.call("local_jacobian", x, y), tuple(shape))
    summed = weights * found if place.layer.elementwise else (weights[:, None] @ found)[:, 0]
    what = "the sum of its rows with random weights at sample and column "
    yield from place.differences("input", what, "pullback", summed, pulled)


def _of_backward_gain(place: Place) -> Iterator[Difference]:
    x, y = place.within_bounds()
    if not len(x) or not x.is_floating_point() or x.numel() * y[0].numel() > MOST_ENTRIES:
        return
    found = torch.as_tensor(place.call("backward_gain", x, y), dtype=y.dtype)
    expected = Layer.local_jacobian(place.layer, x, y).norm() / y.numel() ** 0.5
    yield from place.differences("input", "the gain", "pullback", found, expected)


HELD: dict[str, Callable[[Place], Iterator[Difference]]] = {
    "pushforward": _of_pushforward,
    "parameter_pushforward": _of_parameter_pushforward,
    "sample_gradients": _of_sample_gradients,
    "sample_norms": _of_sample_norms,
    "local_jacobian": _of_local_jacobian,
    "backward_gain": _of_backward_gain,
}
"""The methods of `nets.Layer` that have a default, which follows from the others."""

OF_SEPARATE_SAMPLES = ("sample_gradients", "sample_norms")
"""Those that have a meaning only where samples do not depend on one another."""


@torch.no_grad()
def check_overrides(problem: Problem) -> tuple[list[Check], Location | None]:
    """A failed check for each override of a layer that does not agree, and where the first one stands; none if all
    agree.

    A layer within a layer is called at its own input. An override is not checked if it raises an InputError, which is
    how a layer says that it does not know something.

    Args:
        problem: a network at its point.

    Raises:
        InputError: for an override that raises another error, or returns something of another kind or shape.
    """
    with problem.same_draws():
        places = problem.call_with(lambda network, x: _places(network, x, problem.seed))
    checks, found = list[Check](), dict[Layer, Location]()
    for place in places:
        # A fault of a part shows in the layers around it, too.
        if any(part in found for part in place.layer.modules()):
            continue
        wrong = [(method, one) for method in HELD for one in _differences(place, method)]
        checks += [_check(place, method, one) for method, one in wrong]
        if wrong:
            by, methods = (
                tuple(dict.fromkeys(names)) for names in ([one.by for _, one in wrong], [m for m, _ in wrong])
            )
            parts = any(True for _ in place.layer.children())
            found[place.layer] = Location(place.name, type(place.layer).__name__, parts, by, methods=methods)
    if not found:
        return [], None
    first, *others = found.values()
    return checks, replace(first, also=tuple(other.module for other in others))


def _places(network: nn.Module, x: Tensor, seed: int) -> list[Place]:
    """Every layer at each of its inputs, parts before the layers around them."""
    names = {layer: name for name, layer in network.named_modules() if isinstance(layer, Layer)}
    found = []

    def keep(layer: Any, inputs: tuple[Tensor], y: Tensor) -> None:
        found.append(Place(names[layer], layer, inputs[0].detach(), y.detach(), seed))

    handles = [layer.register_forward_hook(keep) for layer in names]
    try:
        network(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _differences(place: Place, method: str) -> list[Difference]:
    """The results of a method that do not agree; none of a method that the layer does not override."""
    layer = place.layer
    if getattr(type(layer), method) is getattr(Layer, method):
        return []
    if method in OF_SEPARATE_SAMPLES and (place.coupled or not place.sample_gradients):
        return []
    try:
        return list(HELD[method](place))
    except NotKnownError:
        return []


def _check(place: Place, method: str, one: Difference) -> Check:
    kind = type(place.layer).__name__
    found, expected = distinct_digits(one.found, one.expected)
    reason = Reason.OVERRIDE_DIFFERS.because(
        method=f"{kind}.{method}",
        layer=place.name or kind,
        what=one.what,
        found=found,
        expected=expected,
        source=f"{kind}.{one.source}",
    )
    return Check.without_entry("all", Method.CLOSED_FORM, Method.ITSELF, Verdict.FAIL, reason)
