"""A computation as a graph, and its backward pass one node at a time.

gradient of a node = Σ over its users of (gradient of the user · local derivative of the user by the node)
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class Node:
    """A value that was computed, or an input.

    Attributes:
        name: x, v3, y, '0.weight'.
        formula: how the value was computed, such as 'v1·v2'; empty for an input or a parameter.
        value: the value.
        kind: 'input', 'parameter', 'constant' (receives no gradient) or 'operation'.
        edges: one from each node that the value was computed from.
        column: the position from left to right; None lets the layout choose it.
        drawn: whether the node has a box. Where every unit of a network is a node, parameters have none.
    """

    name: str
    formula: str
    value: Tensor
    kind: str
    edges: list["Edge"] = field(default_factory=list)
    column: int | None = None
    drawn: bool = True

    @property
    def drawn_edges(self) -> list["Edge"]:
        """The edges whose two ends have a box."""
        return [edge for edge in self.edges if edge.source.drawn]


@dataclass(eq=False)
class Edge:
    """From a node to one that was computed from it.

    Attributes:
        source, target: the two nodes.
        local: ∂target/∂source, of shape (*target.shape, *source.shape); None if it has too many entries to be formed.
        pullback: the gradient of the target → the term that it contributes to the gradient of the source.
        detached: whether no gradient flows along this edge.
    """

    source: Node
    target: Node
    local: Tensor | None
    pullback: Callable[[Tensor], Tensor]
    detached: bool = False


@dataclass(frozen=True)
class BackwardStep:
    """One step of the backward pass: a node whose gradient is complete sends its contributions backward.

    Attributes:
        node: the node.
        gradient: ∂y/∂node.
        received: an edge to each user of the node and the contribution that came along it, in the order of arrival.
        sent: each edge to an input of the node and the contribution sent along it.
    """

    node: Node
    gradient: Tensor
    received: tuple[tuple[Edge, Tensor], ...]
    sent: tuple[tuple[Edge, Tensor], ...]


def topological_order(output: Node) -> list[Node]:
    """All nodes that the output depends on, each before its users; the output is the last."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(output, False)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(edge.source, False) for edge in reversed(node.edges)]
    return order


def backward(output: Node) -> list[BackwardStep]:
    """The gradient of every node, in reverse topological order from the output on."""
    received: dict[int, list[tuple[Edge, Tensor]]] = {}
    steps = []
    for node in reversed(topological_order(output)):
        contributions = received.get(id(node), [])
        if node is output:
            gradient = torch.ones_like(node.value)
        elif contributions:
            gradient = torch.stack([contribution for _, contribution in contributions]).sum(0)
        else:
            continue  # every way from this node to the output is detached
        sent = [(edge, edge.pullback(gradient)) for edge in node.edges if not edge.detached]
        for edge, contribution in sent:
            received.setdefault(id(edge.source), []).append((edge, contribution))
        steps.append(BackwardStep(node, gradient, tuple(contributions), tuple(sent)))
    return steps
