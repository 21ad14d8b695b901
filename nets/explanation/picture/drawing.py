"""The graph of a backward pass as SVG."""

import html as markup
import math
from collections.abc import Sequence
from itertools import pairwise

from nets.explanation.picture.colours import LENGTH, NEGATIVE, NOT_FINITE, POSITIVE, Scale, mixed
from nets.explanation.picture.graph import Edge, Moment, Node, ordered
from nets.explanation.picture.labels import added, equation, figures, length, local, lowered, short, sign, stretches
from nets.explanation.picture.layout import Place, arrange

CHARACTER, LINE = 7.3, 17.0
"""Width of a letter and height of a line, in pixels."""

MARGIN, LEGEND = 26, 64
ALONG = sorted((part / 50 for part in range(7, 44)), key=lambda part: abs(part - 0.5))
"""Where on a line its label may stand, the best first."""

CROSSED = 0.5
"""What another line beneath a label counts for, in square pixels of a label on another."""

STYLE = """
.nets-picture text{font-family:"DejaVu Sans","Segoe UI",Roboto,Helvetica,Arial,sans-serif;font-size:12.5px;
  fill:#1d2433;text-anchor:middle}
.nets-picture .box{stroke:#5b6577;stroke-width:1.2}
.nets-picture .parameter .box{stroke-dasharray:5 3}
.nets-picture .name{font-weight:700}
.nets-picture .sum{font-size:11px;fill:#46506a}
.nets-picture .line{fill:none;stroke-width:1.6;stroke:#aab2c0}
.nets-picture .cut .line{stroke-dasharray:3 4}
.nets-picture .local{font-size:11.5px;stroke:#fff;stroke-width:5px;stroke-linejoin:round;paint-order:stroke}
.nets-picture .head,.nets-picture .legend{fill:#5b6577;font-size:11.5px}
.nets-picture .current .box{stroke:#e08a00;stroke-width:3.2}
.nets-picture .current .line{stroke-width:3.4;stroke-dasharray:9 5;animation:nets-flow 1s linear infinite}
.nets-picture .current .local{font-weight:700;font-size:12.5px}
.nets-picture .waiting .gradient,.nets-picture .waiting .sum{fill:#98a1b0}
@keyframes nets-flow{to{stroke-dashoffset:28}}
"""


class Drawing:
    """Boxes and lines, placed once; what is written and coloured follows the step."""

    def __init__(self, output: Node, moments: Sequence[Moment]) -> None:
        self.moments = list(moments)
        self.nodes = [node for node in ordered(output) if node.drawn]
        self.edges = [edge for node in self.nodes for edge in node.lines]
        self.y = lowered(output.name)
        self.at = {id(moment.node): moment for moment in moments}
        sizes = [length(moment.gradient) for moment in moments if moment.node.drawn]
        self.scale = Scale(sizes)
        self.signed = any(moment.gradient.numel() == 1 for moment in moments if moment.node.drawn)
        self.lengths = any(moment.gradient.numel() > 1 for moment in moments if moment.node.drawn)
        handed = [length(contribution) for moment in moments for _, contribution in moment.handed]
        self.all_finite = all(map(math.isfinite, [*sizes, *handed]))
        self.locals = {edge: local(edge, self.at) for edge in self.edges}
        self.layout = arrange(self.nodes, self._size, lambda edge: len(self.locals[edge]) * CHARACTER)
        self.heads = MARGIN if any(node.column is not None for node in self.nodes) else 0
        self.spots = self._spots()

    def svg(self, embedded: bool = False) -> str:
        """The whole of it, as after the last step."""
        width = max(self.layout.width + 2 * MARGIN, 470)
        height = self.layout.height + 2 * MARGIN + self.heads + LEGEND
        last = self.state(len(self.moments), still=not embedded)
        lines = [self._line(number, edge, last) for number, edge in enumerate(self.edges)]
        boxes = [self._box(number, node, last) for number, node in enumerate(self.nodes)]
        labels = [self._label(number, edge, last) for number, edge in enumerate(self.edges)]
        size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
        name = f'role="img" aria-label="the backward pass of {markup.escape(self.y)}"'
        shift = (width - self.layout.width) / 2
        body = [f'<g transform="translate({shift:.1f},{MARGIN + self.heads})">', *self._heads(), *lines, *boxes, *labels, "</g>"]
        body.append(self._legend(width, height))
        style = "" if embedded else f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        # By itself it may stand in a page, or a notebook, that is narrower.
        size += "" if embedded else ' style="max-width:100%;height:auto"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="nets-picture" {size} {name}>{style}\n' + "\n".join(body) + "\n</svg>"
        )

    def state(self, step: int, still: bool = False) -> dict[str, list[list[str]]]:
        """After `step` steps: [class, fill, gradient, sum] of each node, and [class, colour] of each edge."""
        done = {id(moment.node) for moment in self.moments[:step]}
        handed: dict[int, list[Edge]] = {}
        passed: dict[int, tuple[Edge, float, int]] = {}
        for moment in self.moments[:step]:
            for edge, contribution in moment.handed:
                handed.setdefault(id(edge.source), []).append(edge)
                passed[id(edge)] = (edge, length(contribution), sign(contribution))
        current = self.moments[step - 1] if step and not still else None
        nodes = [
            self._node_state(node, id(node) in done, len(handed.get(id(node), [])), current is not None and node is current.node)
            for node in self.nodes
        ]
        # A parameter without a box is drawn by the lines that end where it is used.
        busy = [current.node, *(edge.target for edge, _ in current.received if not current.node.drawn)] if current else []
        edges = []
        for edge in self.edges:
            now = edge.target in busy
            if id(edge) not in passed:
                edges.append(["edge cut" if edge.cut else "edge", "#aab2c0"])
                continue
            _, size, which = passed[id(edge)]
            edges.append(["edge current" if now else "edge", self.scale.line(size, which)])
        return {"nodes": nodes, "edges": edges}

    def _node_state(self, node: Node, done: bool, came: int, current: bool) -> list[str]:
        moment = self.at.get(id(node))
        name = f"node {node.kind}" + (" current" if current else "" if done else " waiting")
        if moment is None:
            return [name, "#f4f5f7", "no gradient", ""]
        of = f"∂{self.y}/∂{lowered(node.name)}"
        parts = [contribution for _, contribution in moment.received]
        if done:
            fill = self.scale.fill(length(moment.gradient), sign(moment.gradient))
            return [name, fill, equation(of, moment.gradient), added(parts) if len(parts) > 1 else ""]
        some = f"{added(parts[:came])} + …" if came else ""
        return [name, "#ffffff", f"{of} = {'…' if some else '?'}", some if len(parts) > 1 else ""]

    def _size(self, node: Node) -> tuple[float, float]:
        moment = self.at.get(id(node))
        several = moment is not None and len(moment.received) > 1
        states = [self._node_state(node, True, 0, False)]
        texts = [self._title(node), figures(node.value), *(text for state in states for text in state[2:])]
        widest = max(len(text) * (CHARACTER if number else CHARACTER * 1.08) for number, text in enumerate(texts))
        return max(84.0, widest + 20), LINE * (4 if several else 3) + 12

    def _title(self, node: Node) -> str:
        formula = node.formula if node.column is None else ""
        return f"{lowered(node.name)} = {lowered(formula)}" if formula else lowered(node.name)

    def _box(self, number: int, node: Node, state: dict[str, list[list[str]]]) -> str:
        name, fill, gradient, total = state["nodes"][number]
        place = self.layout.places[node]
        x, y = place.x - place.width / 2, place.y - place.height / 2
        texts = [("name", self._title(node)), ("value", figures(node.value)), ("gradient", gradient)]
        moment = self.at.get(id(node))
        if moment is not None and len(moment.received) > 1:
            texts.insert(2, ("sum", total))
        rows = [
            f'<text class="{kind}" x="{place.x:.1f}" y="{y + 4 + LINE * (row + 0.82):.1f}">{markup.escape(text)}</text>'
            for row, (kind, text) in enumerate(texts)
        ]
        where = f'x="{x:.1f}" y="{y:.1f}" width="{place.width:.1f}" height="{place.height:.1f}"'
        box = f'<rect class="box" {where} rx="9" fill="{fill}"/>'
        return f'<g class="{name}" data-node="{number}">{box}{"".join(rows)}</g>'

    def _points(self, edge: Edge) -> list[tuple[float, float]]:
        source, target = self.layout.places[edge.source], self.layout.places[edge.target]
        start = (source.x + source.width / 2, source.y + self._port(edge, source, out=True))
        end = (target.x - target.width / 2 - 5, target.y + self._port(edge, target, out=False))
        return [start, *((bend.x, bend.y) for bend in self.layout.bends[edge]), end]

    def _port(self, edge: Edge, place: Place, out: bool) -> float:
        """Lines that share a side of a box are spread over it, in the order of where they come from."""
        near = [one for one in self.edges if (one.source if out else one.target) is place.node]

        def height(one: Edge) -> float:
            bends = self.layout.bends[one]
            other = self.layout.places[one.target if out else one.source]
            return (bends[0] if out else bends[-1]).y if bends else other.y

        near.sort(key=height)
        step = min(14.0, 0.7 * place.height / len(near))
        return (near.index(edge) - (len(near) - 1) / 2) * step

    def _path(self, edge: Edge) -> str:
        points = self._points(edge)
        (x0, y0), (x1, y1) = points[0], points[-1]
        if x1 < x0:  # to the band beneath: down, back, down
            middle = self._between(edge)
            return f"M{x0:.1f},{y0:.1f} h10 V{middle:.1f} H{x1 - 12:.1f} V{y1:.1f} h12"
        if len(points) == 2:
            return f"M{x0:.1f},{y0:.1f} L{x1:.1f},{y1:.1f}"
        path = f"M{x0:.1f},{y0:.1f}"
        for (ax, ay), (bx, by) in pairwise(points):
            middle = (ax + bx) / 2
            path += f" C{middle:.1f},{ay:.1f} {middle:.1f},{by:.1f} {bx:.1f},{by:.1f}"
        return path

    def _between(self, edge: Edge) -> float:
        target = self.layout.places[edge.target]
        band = [place for place in self.layout.places.values() if place.band == target.band]
        return min(place.y - place.height / 2 for place in band) - 22

    def _line(self, number: int, edge: Edge, state: dict[str, list[list[str]]]) -> str:
        name, stroke = state["edges"][number]
        x, y = self._points(edge)[-1]
        head = f'<path class="tip" d="M{x - 3:.1f},{y - 4:.1f} l8,4 l-8,4 z" fill="{stroke}"/>'
        return (
            f'<g class="{name}" data-edge="{number}"><path class="line" d="{self._path(edge)}" style="stroke:{stroke}"/>{head}</g>'
        )

    def _label(self, number: int, edge: Edge, state: dict[str, list[list[str]]]) -> str:
        x, y = self.spots[edge]
        name = state["edges"][number][0]
        text = f'<text class="local" x="{x:.1f}" y="{y + 4:.1f}">{markup.escape(self.locals[edge])}</text>'
        return f'<g class="{name}" data-label="{number}">{text}</g>'

    def _spots(self) -> dict[Edge, tuple[float, float]]:
        """Where each label stands: on its line, clear of the boxes and the other labels, and of the other lines if that can be."""
        boxes = [(p.x, p.y, p.width / 2 + 2, p.height / 2 + 2) for p in self.layout.places.values()]
        dots = {edge: [self._on_line(edge, part / 20) for part in range(21)] for edge in self.edges}
        taken: list[tuple[float, float, float, float]] = []
        found = {}
        for edge in self.edges:
            half = len(self.locals[edge]) * CHARACTER / 2 + 3
            beside = [points for one, points in dots.items() if one is not edge and self._same_columns(one, edge)]

            def cost(spot: tuple[float, float, float, float], beside: list[list[tuple[float, float]]] = beside) -> float:
                crossed = sum(any(_overlap(spot, (*dot, 1, 1)) for dot in points) for points in beside)
                return sum(_overlap(spot, other) for other in [*boxes, *taken]) + CROSSED * crossed

            best = min(((*self._on_line(edge, part), half, 8.5) for part in ALONG), key=cost)
            taken.append(best)
            found[edge] = best[:2]
        return found

    def _same_columns(self, one: Edge, other: Edge) -> bool:
        (a, b), (c, d) = ([self.layout.places[node].column for node in (edge.source, edge.target)] for edge in (one, other))
        return a < d and c < b

    def _on_line(self, edge: Edge, part: float) -> tuple[float, float]:
        points = self._points(edge)
        if points[-1][0] < points[0][0]:
            return points[0][0] + (points[-1][0] - points[0][0]) * part, self._between(edge)
        place = part * (len(points) - 1)
        index = min(int(place), len(points) - 2)
        (ax, ay), (bx, by) = points[index], points[index + 1]
        t = place - index
        if len(points) > 2:  # on the curve
            t, u = 3 * t * t - 2 * t**3, 0.75 * t * (1 - t) * (1 - 2 * t) + t
            return ax + (bx - ax) * u, ay + (by - ay) * t
        return ax + (bx - ax) * t, ay + (by - ay) * t

    def _heads(self) -> list[str]:
        found = {node.column: (self.layout.places[node].x, node) for node in self.nodes if node.column is not None}
        words = ["input" if column == 0 else f"layer {(column or 0) - 1}: {node.formula}" for column, (_, node) in found.items()]
        return [f'<text class="head" x="{x:.1f}" y="-14">{word}</text>' for word, (x, _) in zip(words, found.values(), strict=True)]

    def _legend(self, width: float, height: float) -> str:
        y, x, parts = height - LEGEND + 26, MARGIN, []
        how = "log scale" if self.scale.logarithmic else ""
        if self.signed:
            colours = [NEGATIVE, (255, 255, 255), POSITIVE]
            parts.append(
                self._bar(x, y, "signed", colours, f"−{short(self.scale.largest)}", short(self.scale.largest), f"gradient {how}")
            )
            x += 190
        if self.lengths:
            parts.append(
                self._bar(
                    x, y, "length", [(255, 255, 255), LENGTH], "0", short(self.scale.largest), f"length of the gradient {how}"
                )
            )
            x += 190
        if not self.all_finite:
            parts.append(self._swatch(x, y, NOT_FINITE, "NaN or ∞"))
            x += 90
        words = "on a line: local derivative"
        if any(stretches(text) for text in self.locals.values()):
            words += "; ×: what it does to the length of the gradient"
        room = math.floor((width - x - MARGIN) / 6.6)
        rows = [words] if len(words) <= room else [words.split(";")[0], *(part.strip() for part in words.split(";")[1:])]
        for row, text in enumerate(rows):
            parts.append(f'<text class="legend" style="text-anchor:start" x="{x}" y="{y + 9 + 15 * row}">{text}</text>')
        return "".join(parts)

    def _swatch(self, x: float, y: float, fill: str, title: str) -> str:
        return (
            f'<rect x="{x}" y="{y}" width="50" height="10" rx="3" fill="{fill}" stroke="#c3c9d4"/>'
            f'<text class="legend" style="text-anchor:start" x="{x}" y="{y - 6}">{title}</text>'
        )

    def _bar(self, x: float, y: float, name: str, colours: list[tuple[int, int, int]], low: str, high: str, title: str) -> str:
        key = f"nets-{name}"
        stops = "".join(
            f'<stop offset="{number / (len(colours) - 1):.2f}" stop-color="{mixed(one, 0.62)}"/>'
            for number, one in enumerate(colours)
        )
        return (
            f'<defs><linearGradient id="{key}">{stops}</linearGradient></defs>'
            f'<rect x="{x}" y="{y}" width="150" height="10" rx="3" fill="url(#{key})" stroke="#c3c9d4"/>'
            f'<text class="legend" style="text-anchor:start" x="{x}" y="{y - 6}">{title.strip()}</text>'
            f'<text class="legend" style="text-anchor:start" x="{x}" y="{y + 24}">{low}</text>'
            f'<text class="legend" style="text-anchor:end" x="{x + 150}" y="{y + 24}">{high}</text>'
        )


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """The area that two boxes, each given by its centre and half its size, share."""
    wide = one[2] + other[2] - abs(one[0] - other[0])
    high = one[3] + other[3] - abs(one[1] - other[1])
    return wide * high if wide > 0 and high > 0 else 0.0
