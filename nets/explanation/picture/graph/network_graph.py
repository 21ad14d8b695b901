"""A network at one sample as a graph: a node for every unit of a small network, or else a node for every layer."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nets.calculus.checks import checked_trace
from nets.calculus.formulas import layer_outputs
from nets.calculus.layer import Layer
from nets.calculus.network import Network
from nets.errors import InputError
from nets.explanation.paths import LocalJacobian, local_jacobians
from nets.explanation.picture.graph.function_graph import expect_dense
from nets.explanation.picture.graph.graph import Edge, Node
from nets.explanation.selection import output_unit, unit_index

MAX_UNITS_OF_A_LAYER = 5
MAX_UNITS = 24
"""A network with more units is drawn with a node for every layer."""


def graph_of_copy(network: Network, inputs: tuple[Any, ...], output: int | tuple[int, ...] | None, sample: int) -> Node:
    """The node of Y_nk in a float64 copy of the network.

    Args:
        network: stays as it is.
        inputs: one tensor X of shape (N, *S), or one sample of shape (J,).
        output: k, a unit of Y_n, counted in the order of `flatten`, or its index; 0 if None.
        sample: n.

    Raises:
        InputError: if the input does not fit, or if there is no such sample or output.
    """
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
        raise InputError(f"a network was given {len(inputs)} inputs; expected one tensor of shape (samples, features).")
    network = copy.deepcopy(network).double()
    expect_dense("X", inputs[0])
    x = inputs[0].detach()
    x = x.double() if x.is_floating_point() else x  # whole numbers, such as tokens, stay whole
    x = x[None] if x.ndim == 1 else x
    network.check(x)
    n = unit_index("sample", sample, len(x))
    with torch.no_grad():
        shape = tuple(checked_trace(network, x[n : n + 1])[-1].shape[1:])
    return network_graph(network, x[n : n + 1], output_unit(0 if output is None else output, shape))


@torch.no_grad()
def network_graph(network: Network, x: Tensor, output: int) -> Node:
    """The node of Y_k for one sample x of shape (1, *S): a graph of units if they can be read, or else of layers."""
    sizes = [value[0].numel() for value in network.trace(x)]
    small = x.is_floating_point() and max(sizes) <= MAX_UNITS_OF_A_LAYER and sum(sizes) <= MAX_UNITS
    return unit_graph(network, x, output) if small else layer_graph(network, x, output)


@torch.no_grad()
def unit_graph(network: Network, x: Tensor, output: int) -> Node:
    """The node of Y_k; the local derivatives come from the layers' own pullbacks.

    Args:
        network: the layers.
        x: one sample, of shape (1, *S).
        output: k, in the order of `flatten`.
    """
    values = network.trace(x)
    names = layer_outputs(network)
    before = [Node(f"X_{unit}", "", value, "input", column=0) for unit, value in enumerate(values[0].flatten())]
    for part, local in zip(network.parts, local_jacobians(network, values, 0), strict=True):
        layer, level = network.layers[local.layer], local.layer + 1
        kind, units = type(layer).__name__, enumerate(values[level].flatten())
        after = [Node(f"{names[level]}_{unit}", kind, value, "operation", column=level) for unit, value in units]
        parameters = [
            Node(f"{part}.{name}", "", parameter.detach(), "parameter", column=level, drawn=False)
            for name, parameter in layer.named_parameters()
        ]
        for unit, node in enumerate(after):
            node.edges = [_unit_edge(local, before[source], node, unit, source) for source in local.sources(unit)]
            node.edges += [
                Edge(parameter, node, None, _unit_gradient(layer, parameter.name, unit, *values[level - 1 : level + 1]))
                for parameter in parameters
            ]
        before = after
    return before[output]


def _unit_edge(local: LocalJacobian, source: Node, target: Node, unit: int, source_unit: int) -> Edge:
    derivative = local.entry(unit, source_unit)
    return Edge(source, target, derivative, lambda v: v * derivative)


def _unit_gradient(layer: Layer, name: str, unit: int, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """The cotangent of one unit of a layer → its contribution to the gradient of the layer's parameter."""

    def pullback(v: Tensor) -> Tensor:
        cotangent = torch.zeros_like(y)
        cotangent.view(-1)[unit] = v
        return layer.gradients(cotangent, x, y)[name.partition(".")[2]].detach()

    return pullback


@torch.no_grad()
def layer_graph(network: Network, x: Tensor, output: int) -> Node:
    """The node of Y_k from a node for X, each parameter and each layer's output, for x of shape (1, *S)."""
    names = layer_outputs(network)
    before, value = Node("X", "", x[0], "input"), x
    for index, (part, layer) in enumerate(network.parts.items()):
        after = layer(value).detach()
        node = Node(names[index + 1], f"{type(layer).__name__} {names[index]}", after[0], "operation")
        discrete = not value.is_floating_point()  # such as tokens
        node.edges.append(Edge(before, node, None, _layer_pullback(layer, value, after), detached=discrete))
        for name, parameter in layer.named_parameters():
            leaf = Node(f"{part}.{name}", "", parameter.detach(), "parameter")
            node.edges.append(Edge(leaf, node, None, _layer_gradient(layer, name, value, after)))
        before, value = node, after
    last = Node(f"Y_{output}", f"Y[{output}]", before.value.flatten()[output], "operation")
    unit = torch.zeros_like(before.value)
    unit.view(-1)[output] = 1
    last.edges = [Edge(before, last, unit, lambda v: v * unit)]
    return last


def _layer_pullback(layer: Layer, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: layer.pullback(v[None], x, y)[0].detach()


def _layer_gradient(layer: Layer, name: str, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: layer.gradients(v[None], x, y)[name].detach()
