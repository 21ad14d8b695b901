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
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.layer import Layer
from nets.records.check import Check
from nets.records.location import Location
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import distinct_digits
from nets.verification.checks.layer_in_place import Difference, LayerInPlace, NotKnownError
from nets.verification.problem.problem import Problem


def _of_pushforward(place: LayerInPlace) -> Iterator[Difference]:
    if not place.x.is_floating_point():
        return
    layer, x, y, t = place.layer, place.x, place.y, place.random("tangent", place.x)
    pushed = place.expect("pushforward", place.call("pushforward", t, x, y), tuple(y.shape))
    pulled = layer.checked_pullback(place.v, x, y)
    what = "a random weighted sum of its result along a random tangent"
    yield from place.different_sums("input", what, "pullback", place.v * pushed, pulled * t)


def _of_parameter_pushforward(place: LayerInPlace) -> Iterator[Difference]:
    still = {name: torch.zeros_like(gradient) for name, gradient in place.gradients.items()}
    for name, gradient in place.gradients.items():
        t = place.random(f"tangent of {name}", gradient)
        pushed = place.call("parameter_pushforward", {**still, name: t}, place.x, place.y)
        pushed = place.expect("parameter_pushforward", pushed, tuple(place.y.shape))
        what = f"a random weighted sum of its result along a random tangent of {name}"
        yield from place.different_sums(name, what, "gradients", place.v * pushed, gradient * t)


def _of_sample_gradients(place: LayerInPlace) -> Iterator[Difference]:
    expected = place.sample_gradients
    for name, gradients in place.of_few_samples("sample_gradients", expected).items():
        what = f"the gradient of {name} at "
        yield from place.differences(name, what, "gradients", gradients, expected[name], place.few_samples)


def _of_sample_norms(place: LayerInPlace) -> Iterator[Difference]:
    expected = {name: each.reshape(len(each), -1).norm(dim=1) for name, each in place.sample_gradients.items()}
    for name, norms in place.of_few_samples("sample_norms", expected).items():
        what = f"the norm of the gradient of {name} at sample "
        yield from place.differences(name, what, "gradients", norms, expected[name], place.few_samples)


def _of_local_jacobian(place: LayerInPlace) -> Iterator[Difference]:
    x, y = place.local
    if not len(x):
        return
    v = place.v[:1].expand(y.shape)
    pulled, weights = place.layer.checked_pullback(v, x, y).flatten(1), v.flatten(1)
    shape = y.flatten(1).shape if place.layer.elementwise else (*y.flatten(1).shape, pulled.shape[1])
    found = place.expect("local_jacobian", place.call("local_jacobian", x, y), tuple(shape))
    summed = weights * found if place.layer.elementwise else (weights[:, None] @ found)[:, 0]
    what = "a random weighted sum of its rows, at sample and column "
    yield from place.differences("input", what, "pullback", summed, pulled)


def _of_backward_gain(place: LayerInPlace) -> Iterator[Difference]:
    x, y = place.local
    if not len(x):
        return
    found = torch.as_tensor(place.call("backward_gain", x, y), dtype=y.dtype)
    expected = Layer.local_jacobian(place.layer, x, y).norm() / y.numel() ** 0.5
    yield from place.differences("input", "the gain", "pullback", found, expected)


HELD: dict[str, Callable[[LayerInPlace], Iterator[Difference]]] = {
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
        # A fault of a part shows in the layers around it, too. And a layer that repeats the forward passes of its parts
        # draws other numbers from the global generators.
        if any(part in found for part in place.layer.modules()) or (problem.random and place.has_parts):
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


def _places(network: nn.Module, x: Tensor, seed: int) -> list[LayerInPlace]:
    """Every layer at each of its inputs, parts before the layers around them."""
    found = []

    def keep(name: str, layer: Layer, called: Any, inputs: tuple[Tensor], y: Tensor) -> None:
        if called is layer:  # and not a copy of it, which may have other parameters
            found.append(LayerInPlace(name, layer, inputs[0].detach(), y.detach(), seed))

    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, Layer)}
    handles = [layer.register_forward_hook(partial(keep, name, layer)) for name, layer in layers.items()]
    try:
        network(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _differences(place: LayerInPlace, method: str) -> list[Difference]:
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


def _check(place: LayerInPlace, method: str, one: Difference) -> Check:
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
