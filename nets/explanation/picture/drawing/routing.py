"""The course of each line between two boxes, and where its label stands."""

from collections.abc import Mapping
from itertools import pairwise

from nets.explanation.picture.drawing.labels import EdgeLabel
from nets.explanation.picture.drawing.layout import Box, Layout
from nets.explanation.picture.graph.graph import Edge

CHARACTER = 7.3
"""Width of a character, in pixels."""

POSITIONS = sorted((part / 50 for part in range(7, 44)), key=lambda part: abs(part - 0.5))
"""Where on a line its label may stand, the middle first."""

CROSSED = 0.5
"""The cost of another line beneath a label, in square pixels of overlap with another label."""

Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]
"""Centre x, centre y, half the width, half the height."""


class Routing:
    """Lines and labels for a layout.

    Args:
        layout: the boxes of the nodes and the bends of the lines.
        labels: edge → its label; its keys are the edges to draw.
    """

    def __init__(self, layout: Layout, labels: Mapping[Edge, EdgeLabel]) -> None:
        self.layout = layout
        self.edges = list(labels)
        self.points = {edge: self._points(edge) for edge in self.edges}
        self.label_positions = self._label_positions(labels)

    def path(self, edge: Edge) -> str:
        """The line as the 'd' of an SVG path."""
        points = self.points[edge]
        (x0, y0), (x1, y1) = points[0], points[-1]
        if x1 < x0:  # to the band beneath: down, back, down
            return f"M{x0:.1f},{y0:.1f} h10 V{self._between_bands(edge):.1f} H{x1 - 12:.1f} V{y1:.1f} h12"
        if len(points) == 2:
            return f"M{x0:.1f},{y0:.1f} L{x1:.1f},{y1:.1f}"
        path = f"M{x0:.1f},{y0:.1f}"
        for (ax, ay), (bx, by) in pairwise(points):
            middle = (ax + bx) / 2
            path += f" C{middle:.1f},{ay:.1f} {middle:.1f},{by:.1f} {bx:.1f},{by:.1f}"
        return path

    def _points(self, edge: Edge) -> list[Point]:
        source, target = self.layout.boxes[edge.source], self.layout.boxes[edge.target]
        start = (source.x + source.width / 2, source.y + self._port(edge, source, out=True))
        end = (target.x - target.width / 2 - 5, target.y + self._port(edge, target, out=False))
        return [start, *((bend.x, bend.y) for bend in self.layout.bends[edge]), end]

    def _port(self, edge: Edge, box: Box, out: bool) -> float:
        """Lines that share a side of a box are spread over it, in the order of the heights they come from."""
        sharing = [other for other in self.edges if (other.source if out else other.target) is box.node]

        def height(edge: Edge) -> float:
            bends = self.layout.bends[edge]
            end = self.layout.boxes[edge.target if out else edge.source]
            return (bends[0] if out else bends[-1]).y if bends else end.y

        sharing.sort(key=height)
        step = min(14.0, 0.7 * box.height / len(sharing))
        return (sharing.index(edge) - (len(sharing) - 1) / 2) * step

    def _between_bands(self, edge: Edge) -> float:
        """The height of a line that runs back to the band beneath."""
        target = self.layout.boxes[edge.target]
        band = [box for box in self.layout.boxes.values() if box.band == target.band]
        return min(box.y - box.height / 2 for box in band) - 22

    def _label_positions(self, labels: Mapping[Edge, EdgeLabel]) -> dict[Edge, Point]:
        """The centre of each label: on its line, clear of boxes and other labels, and of other lines if possible."""
        boxes = [(p.x, p.y, p.width / 2 + 2, p.height / 2 + 2) for p in self.layout.boxes.values()]
        dots = {edge: [self._point_on(edge, part / 20) for part in range(21)] for edge in self.edges}
        taken: list[Rectangle] = []
        positions = {}
        for edge, label in labels.items():
            half = len(label.text) * CHARACTER / 2 + 3
            beside = [points for other, points in dots.items() if other is not edge and self._same_columns(other, edge)]

            def cost(rectangle: Rectangle, beside: list[list[Point]] = beside) -> float:
                crossed = sum(any(_overlap(rectangle, (*dot, 1, 1)) for dot in points) for points in beside)
                return sum(_overlap(rectangle, other) for other in [*boxes, *taken]) + CROSSED * crossed

            best = min(((*self._point_on(edge, part), half, 8.5) for part in POSITIONS), key=cost)
            taken.append(best)
            positions[edge] = best[:2]
        return positions

    def _same_columns(self, one: Edge, other: Edge) -> bool:
        (a, b), (c, d) = (
            [self.layout.boxes[node].column for node in (edge.source, edge.target)] for edge in (one, other)
        )
        return a < d and c < b

    def _point_on(self, edge: Edge, part: float) -> Point:
        """The point on a line after a part of its way, from 0 to 1."""
        points = self.points[edge]
        if points[-1][0] < points[0][0]:
            return points[0][0] + (points[-1][0] - points[0][0]) * part, self._between_bands(edge)
        along = part * (len(points) - 1)
        index = min(int(along), len(points) - 2)
        (ax, ay), (bx, by) = points[index], points[index + 1]
        t = along - index
        if len(points) > 2:  # on the curve
            t, u = 3 * t * t - 2 * t**3, 0.75 * t * (1 - t) * (1 - 2 * t) + t
            return ax + (bx - ax) * u, ay + (by - ay) * t
        return ax + (bx - ax) * t, ay + (by - ay) * t


def _overlap(one: Rectangle, other: Rectangle) -> float:
    """The area that two boxes share."""
    wide = one[2] + other[2] - abs(one[0] - other[0])
    high = one[3] + other[3] - abs(one[1] - other[1])
    return wide * high if wide > 0 and high > 0 else 0.0
