"""The positions of the nodes of a graph: columns from left to right, ordered so that few lines cross.

Source: Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system structures", IEEE Trans. SMC
11 (1981).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nets.explanation.picture.graph.graph import Edge, Node

GAP = 96.0
"""Least room between two columns, for the lines and their labels."""

ROW_GAP = 24
"""Room between two boxes of a column."""

SINGLE_BAND = 9
"""Columns up to which a graph is one band; a longer one is broken into bands, one beneath the other."""

BAND_COLUMNS = 7
"""Largest number of columns of a band in a graph that is broken."""

SWEEPS = 8
"""Sweeps over the columns, to order them and then to box their boxes."""


@dataclass(eq=False)
class Box:
    """The centre and the size of a box, or of a bend where a line crosses a column (node is None)."""

    node: Node | None
    column: int
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    band: int = 0
    before: list["Box"] = field(default_factory=list)
    after: list["Box"] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """The box of every node, the bends of every line, and the size of the drawing."""

    boxes: dict[Node, Box]
    bends: dict[Edge, list[Box]]
    width: float
    height: float


def arrange(
    nodes: Sequence[Node], size: Callable[[Node], tuple[float, float]], label: Callable[[Edge], float]
) -> Layout:
    """Box the nodes.

    Args:
        nodes: in topological order.
        size: node → width and height of its box.
        label: edge → width of its label.
    """
    columns = _columns(nodes)
    per_band = max(columns.values()) + 1
    if per_band > SINGLE_BAND:
        columns, per_band = _wrapped(nodes, columns)
    count = max(columns.values()) + 1
    boxes = {node: Box(node, columns[node], *size(node), band=columns[node] // per_band) for node in nodes}
    levels: list[list[Box]] = [[] for _ in range(count)]
    for node in nodes:
        levels[columns[node]].append(boxes[node])
    bends: dict[Edge, list[Box]] = {}
    for node in nodes:
        for edge in node.drawn_edges:
            bends[edge] = _bends(boxes[edge.source], boxes[node], levels)
    if all(node.column is None for node in nodes):
        _order(levels)
    gaps = [GAP] * count
    for edge in bends:
        first = boxes[edge.source].column
        gaps[first] = max(gaps[first], label(edge) + 44)
    bands = [levels[start : start + per_band] for start in range(0, count, per_band)]
    width, top = 0.0, 0.0
    for number, band in enumerate(bands):
        right, bottom = _position(band, gaps[number * per_band :], top)
        width, top = max(width, right), bottom + 2.2 * ROW_GAP
    return Layout(boxes, bends, width, top - 2.2 * ROW_GAP)


def _columns(nodes: Sequence[Node]) -> dict[Node, int]:
    """The length of the longest path from an input; an input stands in the column before its first user."""
    columns: dict[Node, int] = {}
    for node in nodes:
        longest = max((columns[edge.source] + 1 for edge in node.drawn_edges), default=0)
        columns[node] = longest if node.column is None else node.column
    _before_first_use(columns, _users(nodes))
    return columns


def _users(nodes: Sequence[Node]) -> dict[Node, list[Node]]:
    """The nodes that were computed from each node."""
    users: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        for edge in node.drawn_edges:
            users[edge.source].append(node)
    return users


def _before_first_use(columns: dict[Node, int], users: dict[Node, list[Node]]) -> None:
    for node, own in users.items():
        if not node.drawn_edges and node.column is None and own:
            columns[node] = min(columns[user] for user in own) - 1


def _wrapped(nodes: Sequence[Node], columns: dict[Node, int]) -> tuple[dict[Node, int], int]:
    """The columns of bands of equal length, and how many columns a band has.

    The first column of each band holds only inputs and parameters, so that their lines do not come from the band above.
    """
    count = max(columns.values())
    own = math.ceil(count / math.ceil(count / BAND_COLUMNS))
    found = {node: (max(column, 1) - 1) // own * (own + 1) + (column - 1) % own + 1 for node, column in columns.items()}
    _before_first_use(found, _users(nodes))
    return found, own + 1


def _bends(source: Box, target: Box, levels: list[list[Box]]) -> list[Box]:
    """A bend in every column that a line crosses. A line to another band runs between the bands, without bends."""
    if source.band != target.band:
        return []
    found, last = [], source
    for column in range(source.column + 1, target.column):
        bend = Box(None, column, 0, ROW_GAP / 2)
        levels[column].append(bend)
        _join(last, bend)
        found.append(bend)
        last = bend
    _join(last, target)
    return found


def _join(left: Box, right: Box) -> None:
    left.after.append(right)
    right.before.append(left)


def _order(levels: list[list[Box]]) -> None:
    """Order each column by the mean rank of its neighbours, in sweeps; keep the order with the fewest crossings."""
    best, fewest = [list(level) for level in levels], _crossings(levels)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for level in levels[1:] if forward else levels[-2::-1]:
            ranks = {id(box): rank for column in levels for rank, box in enumerate(column)}

            def mean(box: Box, ranks: dict[int, int] = ranks, forward: bool = forward) -> float:
                neighbours = box.before if forward else box.after
                ranked = [ranks[id(neighbour)] for neighbour in neighbours]
                return sum(ranked) / len(ranked) if ranked else ranks[id(box)]

            level.sort(key=mean)
        if (crossings := _crossings(levels)) < fewest:
            best, fewest = [list(level) for level in levels], crossings
    for level, order in zip(levels, best, strict=True):
        level[:] = order


def _crossings(levels: list[list[Box]]) -> int:
    count = 0
    for left, right in pairwise(levels):
        ranks = {id(box): rank for rank, box in enumerate(right)}
        ends = [sorted(ranks[id(after)] for after in box.after if id(after) in ranks) for box in left]
        flat = [end for each in ends for end in each]
        count += sum(flat[a] > flat[b] for a in range(len(flat)) for b in range(a + 1, len(flat)))
    return count


def _position(band: list[list[Box]], gaps: list[float], top: float) -> tuple[float, float]:
    """Set the coordinates of a band whose upper edge is at `top` → its right and its lower edge."""
    x = right = 0.0
    for level, gap in zip(band, gaps, strict=False):
        width = max((box.width for box in level), default=0.0)
        for box in level:
            box.x = x + width / 2
        right = x + width
        x = right + max(gap, _gap_after(level)) if level else right
    for level in band:
        _spread(level, [0.0] * len(level))
    for sweep in range(2 * SWEEPS):
        forward = sweep % 2 == 0
        for level in band[1:] if forward else band[-2::-1]:
            _spread(level, [_mean_height(box, forward) for box in level])
    boxes = [box for level in band for box in level]
    shift = top - min(box.y - box.height / 2 for box in boxes)
    for box in boxes:
        box.y += shift
    return right, max(box.y + box.height / 2 for box in boxes)


def _gap_after(level: list[Box]) -> float:
    """A wider gap after a column with many lines, so that their labels have room."""
    return GAP + 10 * min(12, max(0, sum(len(box.after) for box in level) - 4))


def _mean_height(box: Box, forward: bool) -> float:
    neighbours = box.before if forward else box.after
    neighbours = [neighbour for neighbour in neighbours if _weight(neighbour) > 1] or neighbours
    return sum(neighbour.y for neighbour in neighbours) / len(neighbours) if neighbours else box.y


def _weight(box: Box) -> float:
    """Small for a parameter or a constant: it is placed beside its user, and does not move its user."""
    return 20.0 if box.node is None or box.node.drawn_edges or box.node.kind == "input" else 1.0


def _spread(level: list[Box], desired: list[float]) -> None:
    """Move each box as near to its desired height as order and gaps allow; neighbours that would overlap move as one
    block."""
    blocks: list[tuple[list[Box], float, float]] = []  # boxes, their weight, and the height of the first
    for box, height in zip(level, desired, strict=True):
        own, weight, first = [box], _weight(box), height
        while blocks and blocks[-1][2] + _extent(blocks[-1][0], own[0]) > first:
            above, above_weight, above_first = blocks.pop()
            moved = first - _extent(above, own[0])
            first = (above_weight * above_first + weight * moved) / (above_weight + weight)
            own, weight = above + own, above_weight + weight
        blocks.append((own, weight, first))
    for own, _, first in blocks:
        y = first
        for box, following in zip(own, [*own[1:], None], strict=True):
            box.y = y
            y += _distance(box, following) if following else 0.0


def _extent(boxes: list[Box], following: Box) -> float:
    """The distance from the centre of the first box to that of the one after the last."""
    return sum(_distance(one, other) for one, other in zip(boxes, [*boxes[1:], following], strict=True))


def _distance(one: Box, other: Box) -> float:
    return (one.height + other.height) / 2 + ROW_GAP
