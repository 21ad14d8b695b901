"""A network as a graph for one sample: a node for every unit where there are few, else one for every layer."""

from collections.abc import Callable

import torch
from torch import Tensor

from nets.calculus.layer import Layer
from nets.calculus.network import Network
from nets.explanation.paths import Link, links
from nets.explanation.picture.graph import Edge, Node

MOST_IN_A_COLUMN = 5
MOST_UNITS = 24


@torch.no_grad()
def network_graph(network: Network, x: Tensor, output: int) -> Node:
    """The node of Y_k for one sample x of shape (1, J): of units, if there is room to read them, or else of layers."""
    values = [value[0] for value in network.trace(x)]
    few = max(map(len, values)) <= MOST_IN_A_COLUMN and sum(map(len, values)) <= MOST_UNITS
    return unit_graph(network, values, output) if few else layer_graph(network, x, output)


def unit_graph(network: Network, values: list[Tensor], output: int) -> Node:
    """The node of Y_k; the local derivatives are those of the layers' own pullbacks.

    Args:
        network: the layers.
        values: X and the output of every layer, for one sample, each of shape (units,).
        output: k.
    """
    names = ["X", *(f"H{index + 1}" for index in range(len(network) - 1)), "Y"]
    before = [Node(f"X_{unit}", "", value, "input", column=0) for unit, value in enumerate(values[0])]
    for link in links(network, values, 0):
        layer, level = network.layers[link.layer], link.layer + 1
        kind = type(layer).__name__
        made = [Node(f"{names[level]}_{unit}", kind, value, "operation", column=level) for unit, value in enumerate(values[level])]
        own = [
            Node(f"{link.layer}.{name}", "", p.detach(), "parameter", column=level, drawn=False)
            for name, p in layer.named_parameters()
        ]
        for unit, node in enumerate(made):
            node.edges = [_edge(link, before[one], node, unit, one) for one in (range(len(before)) if link.mixes else [unit])]
            node.edges += [Edge(leaf, node, None, _row(layer, leaf.name, unit, values[link.layer], values[level])) for leaf in own]
        before = made
    return before[output]


def _row(layer: Layer, name: str, unit: int, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """What one unit of a layer adds to the gradient of the layer's parameter."""

    def pull(v: Tensor) -> Tensor:
        cotangent = torch.zeros_like(y[None])
        cotangent[0, unit] = v
        return layer.gradients(cotangent, x[None], y[None])[name.partition(".")[2]].detach()

    return pull


def _edge(link: Link, source: Node, target: Node, unit: int, one: int) -> Edge:
    local = link.local[unit, one] if link.mixes else link.local[unit]
    return Edge(source, target, local, lambda v: v * local)


def layer_graph(network: Network, x: Tensor, output: int) -> Node:
    """The node of Y_k, made of a node for each layer's output, each parameter and X, for x of shape (1, J)."""
    names = ["X", *(f"H{index + 1}" for index in range(len(network) - 1)), "Y"]
    before, value = Node("X", "", x[0], "input"), x
    for index, layer in enumerate(network.layers):
        after = layer(value).detach()
        node = Node(names[index + 1], f"{type(layer).__name__} {names[index]}", after[0], "operation")
        node.edges.append(Edge(before, node, None, _pullback(layer, value, after)))
        for name, parameter in layer.named_parameters():
            own = Node(f"{index}.{name}", "", parameter.detach(), "parameter")
            node.edges.append(Edge(own, node, None, _gradient(layer, name, value, after)))
        before, value = node, after
    last = Node(f"Y_{output}", f"Y[{output}]", before.value[output], "operation")
    one = torch.zeros_like(before.value)
    one[output] = 1
    last.edges = [Edge(before, last, one, lambda v: v * one)]
    return last


def _pullback(layer: Layer, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: layer.pullback(v[None], x, y)[0].detach()


def _gradient(layer: Layer, name: str, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: layer.gradients(v[None], x, y)[name].detach()
