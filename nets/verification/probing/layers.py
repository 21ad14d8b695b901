"""Which layer of a `Network` has a wrong derivative: each is tried alone, at the input that it has within the network.

The pullback and the gradients of a layer are compared with reverse mode of its own forward, for a few random
cotangents. If they are right in all layers, their derivatives are compared with those of reverse mode.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from nets.calculus.function import LayerFunction
from nets.calculus.layer import Layer
from nets.calculus.layers.activations import Activation
from nets.calculus.network import Network
from nets.records.location import Location
from nets.verification.attempt import attempt
from nets.verification.problem.graph import handed_out, pull_back
from nets.verification.problem.pytree import differ, differentiable
from nets.verification.problem.randomness import signed, stream

COTANGENTS_PER_LAYER = 3
"""The number of random cotangents of the output of each layer."""

SAME_UNITS = 2.0**22
"""Two gradients are the same if they differ by fewer units in the last place of the largest entry: in double precision,
by less than 1e-9 of it."""

ROUNDING_OF_ZERO = 2.0**9
"""The rounding error of a gradient that is zero, in units in the last place of 1, which is the size of the
cotangents."""


Wrong = dict[str, list[str]]
"""Each method with a wrong result → the points by which it is wrong."""


@torch.no_grad()
def locate_layer(network: Network, x: Tensor, seed: int) -> Location | None:
    """The first layer whose own derivative is wrong, or cannot be differentiated again, and the names of the others;
    None if no layer is shown to be wrong.

    Args:
        network: the network.
        x: its input, in the same precision.
        seed: of the cotangents.
    """
    for order, wrong_methods in enumerate((_wrong_methods, _wrong_derivatives), 1):
        found = _located(network, x, seed, wrong_methods)
        if found is not None:
            return replace(found, order=order)
    return None


def _located(
    network: Network, x: Tensor, seed: int, wrong_methods: Callable[[Layer, Tensor, torch.Generator], Wrong]
) -> Location | None:
    found, untried = list[Location](), list[str]()
    for name, layer in network.parts.items():
        generator = stream(seed, "cotangents of a layer", name)
        wrong = attempt(lambda: wrong_methods(layer, x, generator)).or_none()  # noqa: B023
        if wrong is None:
            untried.append(name)
        elif wrong:
            by = tuple(dict.fromkeys(point for points in wrong.values() for point in points))
            found.append(Location(name, type(layer).__name__, itself=False, by=by, methods=tuple(wrong)))
        x = layer(x)
    if not found:
        return None
    return replace(found[0], also=tuple(one.module for one in found[1:]), untried=tuple(untried))


def _wrong_methods(layer: Layer, x: Tensor, generator: torch.Generator) -> Wrong:
    """The methods with a wrong result; the points are parameters and 'input'."""
    y, points = _recorded(layer, x)
    cotangents = signed(COTANGENTS_PER_LAYER * y.numel(), generator).to(y).reshape(COTANGENTS_PER_LAYER, *y.shape)
    expected = _stacked([pull_back(y, v, points) for v in cotangents])
    place = x, y.detach()
    # A layer may have its own, cheaper Jacobians, which do not follow from its gradients.
    jacobians = {name: jacobian.dense().sum(0) for name, jacobian in layer.jacobians(cotangents, *place).items()}
    found = {
        "gradients": [_stacked([layer.gradients(v, *place) for v in cotangents])],
        "jacobians": [jacobians],
    }
    if "input" in points:
        # The Jacobians of a network have an axis in front of v, and training has none.
        pulled = layer.pullback(cotangents, *place), torch.stack([layer.pullback(v, *place) for v in cotangents])
        found = {_pullback(layer): [{"input": one} for one in pulled], **found}
    wrong = {
        method: [name for one in results for name in one if name in points and _wrong(one[name], expected[name])]
        for method, results in found.items()
    }
    if wrong["gradients"]:  # from which the Jacobians follow
        del wrong["jacobians"]
    return {method: names for method, names in wrong.items() if names}


def _wrong_derivatives(layer: Layer, x: Tensor, generator: torch.Generator) -> Wrong:
    """The methods whose derivatives are wrong; the points are 'v', the incoming gradient, parameters and 'input'."""
    y, points = _recorded(layer, x)
    v = signed(y.numel(), generator).to(y).reshape(y.shape).requires_grad_()
    weights = {name: signed(point.numel(), generator).to(y).reshape(point.shape) for name, point in points.items()}
    with torch.enable_grad():
        parameters = dict(layer.named_parameters()).values()
        closed = LayerFunction.apply(layer, points.get("input", x), *parameters)  # type: ignore[no-untyped-call]
        found, expected = (_second_derivatives(one, v, points, weights) for one in (closed, y))
    wrong: Wrong = {}
    for name in ("input", *points):
        method = _pullback(layer) if name == "input" else "gradients"
        by = [point for point in expected.get(name, ()) if _wrong(found[name][point], expected[name][point])]
        if by:
            wrong[method] = list(dict.fromkeys((*wrong.get(method, ()), *by)))
    return wrong


def _second_derivatives(
    y: Tensor, v: Tensor, points: dict[str, Tensor], weights: dict[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """∂(Σ_p w_p·G_p)/∂v and by each point, of the gradient G_p = Σ_m v_m ∂Y_m/∂p by each point."""
    leaves = {"v": v, **points}
    gradients = torch.autograd.grad(y, list(points.values()), v, create_graph=True, materialize_grads=True)
    sums = {name: (weights[name] * gradient).sum() for name, gradient in zip(points, gradients, strict=True)}
    return {name: handed_out(total, torch.ones_like(total), leaves) for name, total in sums.items()}


def _pullback(layer: Layer) -> str:
    """The method that a user has written for the derivative by the input."""
    return "slope" if type(layer).pullback is Activation.pullback else "pullback"


def _recorded(layer: Layer, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Y with a graph, and the leaves of that graph: the layer's parameters, and 'input' if X is a point."""
    x = x.detach().clone()
    leaves: dict[str, Tensor] = {
        name: parameter for name, parameter in layer.named_parameters() if parameter.requires_grad
    }
    if differentiable(x):
        leaves["input"] = x.requires_grad_()
    with torch.enable_grad():
        return layer(x), leaves


def _stacked(each: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def _wrong(found: Tensor, expected: Tensor) -> bool:
    """Whether the gradients of some cotangent, whose numbers are of size one, differ by more than rounding."""
    unit = torch.finfo(expected.dtype).eps
    return differ(found, expected, unit * SAME_UNITS, unit * ROUNDING_OF_ZERO)
