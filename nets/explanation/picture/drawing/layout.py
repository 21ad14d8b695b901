"""The places of the nodes of a graph: columns from left to right, ordered so that few lines cross.

Source: Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system structures", IEEE Trans. SMC 11 (1981).
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
"""Sweeps over the columns, to order them and then to place their boxes."""


@dataclass(eq=False)
class Place:
    """The centre and the size of a box, or of a bend where a line crosses a column (node is None)."""

    node: Node | None
    column: int
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    band: int = 0
    before: list["Place"] = field(default_factory=list)
    after: list["Place"] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """The place of every node, the bends of every line, and the size of the drawing."""

    places: dict[Node, Place]
    bends: dict[Edge, list[Place]]
    width: float
    height: float


def arrange(
    nodes: Sequence[Node], size: Callable[[Node], tuple[float, float]], label: Callable[[Edge], float]
) -> Layout:
    """Place the nodes.

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
    places = {node: Place(node, columns[node], *size(node), band=columns[node] // per_band) for node in nodes}
    levels: list[list[Place]] = [[] for _ in range(count)]
    for node in nodes:
        levels[columns[node]].append(places[node])
    bends: dict[Edge, list[Place]] = {}
    for node in nodes:
        for edge in node.drawn_edges:
            bends[edge] = _bends(places[edge.source], places[node], levels)
    if all(node.column is None for node in nodes):
        _order(levels)
    gaps = [GAP] * count
    for edge in bends:
        first = places[edge.source].column
        gaps[first] = max(gaps[first], label(edge) + 44)
    bands = [levels[start : start + per_band] for start in range(0, count, per_band)]
    width, top = 0.0, 0.0
    for number, band in enumerate(bands):
        right, bottom = _position(band, gaps[number * per_band :], top)
        width, top = max(width, right), bottom + 2.2 * ROW_GAP
    return Layout(places, bends, width, top - 2.2 * ROW_GAP)


def _columns(nodes: Sequence[Node]) -> dict[Node, int]:
    """The length of the longest path from an input; an input stands in the column before its first user."""
    found: dict[Node, int] = {}
    users: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        found[node] = (
            node.column
            if node.column is not None
            else max((found[edge.source] + 1 for edge in node.drawn_edges), default=0)
        )
        for edge in node.drawn_edges:
            users[edge.source].append(node)
    _before_first_use(found, users)
    return found


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
    users: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        for edge in node.drawn_edges:
            users[edge.source].append(node)
    _before_first_use(found, users)
    return found, own + 1


def _bends(source: Place, target: Place, levels: list[list[Place]]) -> list[Place]:
    """A bend in every column that a line crosses. A line to another band runs between the bands, without bends."""
    if source.band != target.band:
        return []
    found, last = [], source
    for column in range(source.column + 1, target.column):
        bend = Place(None, column, 0, ROW_GAP / 2)
        levels[column].append(bend)
        _join(last, bend)
        found.append(bend)
        last = bend
    _join(last, target)
    return found


def _join(left: Place, right: Place) -> None:
    left.after.append(right)
    right.before.append(left)


def _order(levels: list[list[Place]]) -> None:
    """Order each column by the mean rank of its neighbours, sweep by sweep; keep the order with the fewest crossings."""
    best, fewest = [list(level) for level in levels], _crossings(levels)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for level in levels[1:] if forward else levels[-2::-1]:
            ranks = {id(place): rank for column in levels for rank, place in enumerate(column)}

            def mean(place: Place, ranks: dict[int, int] = ranks, forward: bool = forward) -> float:
                neighbours = place.before if forward else place.after
                ranked = [ranks[id(neighbour)] for neighbour in neighbours]
                return sum(ranked) / len(ranked) if ranked else ranks[id(place)]

            level.sort(key=mean)
        if (crossings := _crossings(levels)) < fewest:
            best, fewest = [list(level) for level in levels], crossings
    for level, order in zip(levels, best, strict=True):
        level[:] = order


def _crossings(levels: list[list[Place]]) -> int:
    count = 0
    for left, right in pairwise(levels):
        ranks = {id(place): rank for rank, place in enumerate(right)}
        ends = [sorted(ranks[id(after)] for after in place.after if id(after) in ranks) for place in left]
        flat = [end for each in ends for end in each]
        count += sum(flat[a] > flat[b] for a in range(len(flat)) for b in range(a + 1, len(flat)))
    return count


def _position(band: list[list[Place]], gaps: list[float], top: float) -> tuple[float, float]:
    """Set the coordinates of a band whose upper edge is at `top` → its right and its lower edge."""
    x = right = 0.0
    for level, gap in zip(band, gaps, strict=False):
        width = max((place.width for place in level), default=0.0)
        for place in level:
            place.x = x + width / 2
        right = x + width
        x = right + max(gap, _gap_after(level)) if level else right
    for level in band:
        _spread(level, [0.0] * len(level))
    for sweep in range(2 * SWEEPS):
        forward = sweep % 2 == 0
        for level in band[1:] if forward else band[-2::-1]:
            _spread(level, [_mean_height(place, forward) for place in level])
    places = [place for level in band for place in level]
    shift = top - min(place.y - place.height / 2 for place in places)
    for place in places:
        place.y += shift
    return right, max(place.y + place.height / 2 for place in places)


def _gap_after(level: list[Place]) -> float:
    """A wider gap after a column with many lines, so that their labels have room."""
    return GAP + 10 * min(12, max(0, sum(len(place.after) for place in level) - 4))


def _mean_height(place: Place, forward: bool) -> float:
    neighbours = place.before if forward else place.after
    neighbours = [neighbour for neighbour in neighbours if _weight(neighbour) > 1] or neighbours
    return sum(neighbour.y for neighbour in neighbours) / len(neighbours) if neighbours else place.y


def _weight(place: Place) -> float:
    """Small for a parameter or a constant, so that it moves to its user and not its user to it."""
    return 20.0 if place.node is None or place.node.drawn_edges or place.node.kind == "input" else 1.0


def _spread(level: list[Place], wishes: list[float]) -> None:
    """Move each place as near to its wish as order and gaps allow; neighbours that would overlap move as one block."""
    blocks: list[tuple[list[Place], float, float]] = []  # places, their weight, and the height of the first
    for place, wish in zip(level, wishes, strict=True):
        own, weight, first = [place], _weight(place), wish
        while blocks and blocks[-1][2] + _extent(blocks[-1][0], own[0]) > first:
            above, above_weight, above_first = blocks.pop()
            moved = first - _extent(above, own[0])
            first = (above_weight * above_first + weight * moved) / (above_weight + weight)
            own, weight = above + own, above_weight + weight
        blocks.append((own, weight, first))
    for own, _, first in blocks:
        y = first
        for place, following in zip(own, [*own[1:], None], strict=True):
            place.y = y
            y += _distance(place, following) if following else 0.0


def _extent(places: list[Place], following: Place) -> float:
    """The distance from the centre of the first place to that of the one after the last."""
    return sum(_distance(one, other) for one, other in zip(places, [*places[1:], following], strict=True))


def _distance(one: Place, other: Place) -> float:
    return (one.height + other.height) / 2 + ROW_GAP
