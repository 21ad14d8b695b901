"""A computation as a graph, and its backward pass one node at a time.

gradient of a node = Σ over its users of (gradient of the user · local derivative of the user by the node)
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class Node:
    """A value that was computed, or given.

    Attributes:
        name: x, v3, y, '0.weight'.
        formula: how it was computed, such as 'v1·v2'; empty for what was given.
        value: what came out.
        kind: 'input' (given), 'parameter', 'constant' (no gradient goes there), 'operation'.
        column: where it stands from left to right, if that is fixed beforehand.
        drawn: whether it has a box of its own; the parameters of a network whose units are drawn are on the edges.
    """

    name: str
    formula: str
    value: Tensor
    kind: str
    edges: list["Edge"] = field(default_factory=list)
    column: int | None = None
    drawn: bool = True

    @property
    def lines(self) -> list["Edge"]:
        """The edges whose both ends are drawn."""
        return [edge for edge in self.edges if edge.source.drawn]


@dataclass(eq=False)
class Edge:
    """From a node to one that was made of it.

    Attributes:
        source, target: the two.
        local: ∂target/∂source, of shape (*target.shape, *source.shape); None where that is too large to be looked at.
        pull: the gradient of the target → what it adds to that of the source.
        cut: whether no gradient goes this way (detach).
    """

    source: Node
    target: Node
    local: Tensor | None
    pull: Callable[[Tensor], Tensor]
    cut: bool = False


@dataclass(frozen=True)
class Moment:
    """One step of the backward pass: a node whose gradient is complete hands it on.

    Attributes:
        node: which one.
        gradient: ∂y/∂node.
        received: from each of its users, the edge and the contribution, in the order in which they came.
        handed: along each edge to what it was made of, the contribution.
    """

    node: Node
    gradient: Tensor
    received: tuple[tuple[Edge, Tensor], ...]
    handed: tuple[tuple[Edge, Tensor], ...]


def ordered(output: Node) -> list[Node]:
    """The nodes that the output was made of, each before those that were made of it; the output is the last."""
    found: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(output, False)]
    while stack:
        node, done = stack.pop()
        if done:
            found.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(edge.source, False) for edge in reversed(node.edges)]
    return found


def backward(output: Node) -> list[Moment]:
    """Every node's gradient, from the output on, in the reverse of the order in which they were computed."""
    received: dict[int, list[tuple[Edge, Tensor]]] = {}
    moments = []
    for node in reversed(ordered(output)):
        came = received.get(id(node), [])
        if node is output:
            gradient = torch.ones_like(node.value)
        elif came:
            gradient = torch.stack([contribution for _, contribution in came]).sum(0)
        else:
            continue  # nothing that y depends on smoothly was made of it
        handed = [(edge, edge.pull(gradient)) for edge in node.edges if not edge.cut]
        for edge, contribution in handed:
            received.setdefault(id(edge.source), []).append((edge, contribution))
        moments.append(Moment(node, gradient, tuple(came), tuple(handed)))
    return moments
