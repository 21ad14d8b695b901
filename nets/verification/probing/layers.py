"""Which layer of a `Network` has a wrong derivative: each is tried alone, at the input that it has within the network.

The pullback and the gradients of a layer are held against reverse mode of its own forward, for a few random cotangents.
"""

from dataclasses import replace

import torch
from torch import Tensor

from nets.calculus.layer import Layer
from nets.calculus.layers.activations import Activation
from nets.calculus.network import Network
from nets.records.location import Location
from nets.verification.attempt import attempt
from nets.verification.problem.graph import pull_back
from nets.verification.problem.pytree import differentiable, largest
from nets.verification.problem.randomness import signed, stream

COTANGENTS = 3
"""Random cotangents of the output of each layer."""

SAME = 2.0**22
"""Two gradients are the same if they differ by fewer units in the last place of the largest entry: in double precision,
by less than 1e-9 of it."""

ROUNDING = 2.0**9
"""The rounding of a gradient that is zero, in units in the last place of one, which is the size of the cotangents."""


@torch.no_grad()
def locate_layer(network: Network, x: Tensor, seed: int) -> Location | None:
    """The first layer whose own derivative is wrong, and the names of the others; None if no layer is shown to be
    wrong.

    Args:
        network: the network.
        x: its input, in the same precision.
        seed: of the cotangents.
    """
    found, untried = list[Location](), list[str]()
    for index, layer in enumerate(network.layers):
        name, generator = str(index), stream(seed, "cotangents of a layer", str(index))
        wrong = attempt(lambda: _wrong_methods(layer, x, generator)).or_none()  # noqa: B023
        if wrong is None:
            untried.append(name)
        elif wrong:
            by = tuple(dict.fromkeys(point for points in wrong.values() for point in points))
            found.append(Location(name, type(layer).__name__, itself=False, by=by, methods=tuple(wrong)))
        x = layer(x)
    if not found:
        return None
    return replace(found[0], also=tuple(one.module for one in found[1:]), untried=tuple(untried))


def _wrong_methods(layer: Layer, x: Tensor, generator: torch.Generator) -> dict[str, list[str]]:
    """Each method with a wrong result → the parameters by which it is wrong, or 'input'."""
    y, points = _recorded(layer, x)
    cotangents = signed(COTANGENTS * y.numel(), generator).to(y).reshape(COTANGENTS, *y.shape)
    expected = _stacked([pull_back(y, v, points) for v in cotangents])
    place = x, y.detach()
    # A layer may have cheaper Jacobians than those that follow from its gradients.
    jacobians = {name: jacobian.dense().sum(0) for name, jacobian in layer.jacobians(cotangents, *place).items()}
    found = {
        "gradients": [_stacked([layer.gradients(v, *place) for v in cotangents])],
        "jacobians": [jacobians],
    }
    if "input" in points:
        pullback = "slope" if type(layer).pullback is Activation.pullback else "pullback"
        # The Jacobians of a network have an axis in front of v, and training has none.
        pulled = layer.pullback(cotangents, *place), torch.stack([layer.pullback(v, *place) for v in cotangents])
        found = {pullback: [{"input": one} for one in pulled], **found}
    wrong = {
        method: [name for one in results for name in one if name in points and _differ(one[name], expected[name])]
        for method, results in found.items()
    }
    if wrong["gradients"]:  # from which the Jacobians follow
        del wrong["jacobians"]
    return {method: names for method, names in wrong.items() if names}


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


def _differ(found: Tensor, expected: Tensor) -> bool:
    """Whether the gradients of some cotangent, whose numbers are of size one, differ by more than rounding."""
    unit = torch.finfo(expected.dtype).eps
    return not largest(found - expected) <= unit * max(SAME * largest(expected), ROUNDING)
