"""The graph of a backward pass as SVG."""

import html as markup
import math
from collections.abc import Sequence
from importlib.resources import files

from nets.explanation.picture.drawing import legend
from nets.explanation.picture.drawing.colours import Scale
from nets.explanation.picture.drawing.labels import (
    edge_label,
    equation,
    length,
    sign,
    subscripted,
    sum_text,
    value_text,
)
from nets.explanation.picture.drawing.layout import arrange
from nets.explanation.picture.drawing.routing import CHARACTER, Routing
from nets.explanation.picture.graph.graph import BackwardStep, Edge, Node, topological_order

CSS = files("nets.explanation.picture.drawing").joinpath("drawing.css").read_text("utf-8")

LINE_HEIGHT = 17.0
MARGIN, LEGEND = 26, 64
"""Sizes in pixels."""

State = dict[str, list[list[str]]]
"""'nodes' → [class, fill, gradient, sum] of each node, 'edges' → [class, colour] of each edge."""


class Drawing:
    """Boxes and lines with fixed positions, whose texts and colours depend on the step of the backward pass.

    Args:
        output: the node that is differentiated.
        steps: the backward pass from the output on.
    """

    def __init__(self, output: Node, steps: Sequence[BackwardStep]) -> None:
        self.steps = list(steps)
        self.nodes = [node for node in topological_order(output) if node.drawn]
        self.edges = [edge for node in self.nodes for edge in node.drawn_edges]
        self.y = subscripted(output.name)
        self.step_of = {id(step.node): step for step in steps}
        drawn = [step.gradient for step in steps if step.node.drawn]
        self.scale = Scale([length(gradient) for gradient in drawn])
        self.signed = any(gradient.numel() == 1 for gradient in drawn)
        self.lengths = any(gradient.numel() > 1 for gradient in drawn)
        sent = [contribution for step in steps for _, contribution in step.sent]
        self.all_finite = all(math.isfinite(length(tensor)) for tensor in [*drawn, *sent])
        self.labels = {edge: edge_label(edge, self.step_of) for edge in self.edges}
        self.layout = arrange(self.nodes, self._size, lambda edge: len(self.labels[edge].text) * CHARACTER)
        self.routing = Routing(self.layout, self.labels)
        self.heads = MARGIN if any(node.column is not None for node in self.nodes) else 0

    def svg(self, embedded: bool = False) -> str:
        """The whole drawing after the last step.

        Args:
            embedded: whether the surrounding page brings the style and the slider.
        """
        width = max(self.layout.width + 2 * MARGIN, 470)
        height = self.layout.height + 2 * MARGIN + self.heads + LEGEND
        last = self.state(len(self.steps), still=not embedded)
        lines = [self._line(number, edge, last) for number, edge in enumerate(self.edges)]
        boxes = [self._box(number, node, last) for number, node in enumerate(self.nodes)]
        labels = [self._label(number, edge, last) for number, edge in enumerate(self.edges)]
        size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
        name = f'role="img" aria-label="the backward pass of {markup.escape(self.y)}"'
        shift = f'<g transform="translate({(width - self.layout.width) / 2:.1f},{MARGIN + self.heads})">'
        body = [shift, *self._column_heads(), *lines, *boxes, *labels, "</g>", self._legend(width, height)]
        style = "" if embedded else f'<style>\n{CSS}</style><rect width="100%" height="100%" fill="#fff"/>'
        # Alone, it may stand in a page or a notebook that is narrower.
        size += "" if embedded else ' style="max-width:100%;height:auto"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="nets-picture" {size} {name}>{style}'
        return "\n".join([head, *body, "</svg>"])

    def state(self, count: int, still: bool = False) -> State:
        """The texts and colours after `count` steps; `still` leaves the last step without emphasis."""
        done = {id(step.node) for step in self.steps[:count]}
        arrived: dict[int, int] = {}
        carried: dict[Edge, tuple[float, int]] = {}
        for step in self.steps[:count]:
            for edge, contribution in step.sent:
                arrived[id(edge.source)] = arrived.get(id(edge.source), 0) + 1
                carried[edge] = length(contribution), sign(contribution)
        current = self.steps[count - 1] if count and not still else None
        nodes = [
            self._node_state(
                node, id(node) in done, arrived.get(id(node), 0), current is not None and node is current.node
            )
            for node in self.nodes
        ]
        # A parameter without a box is shown by the lines that end at its users.
        busy = [current.node, *(e.target for e, _ in current.received if not current.node.drawn)] if current else []
        return {"nodes": nodes, "edges": [self._edge_state(edge, carried, edge.target in busy) for edge in self.edges]}

    def _edge_state(self, edge: Edge, carried: dict[Edge, tuple[float, int]], current: bool) -> list[str]:
        if edge not in carried:
            return ["edge cut" if edge.detached else "edge", "#aab2c0"]
        return ["edge current" if current else "edge", self.scale.edge_stroke(*carried[edge])]

    def _node_state(self, node: Node, done: bool, arrived: int, current: bool) -> list[str]:
        step = self.step_of.get(id(node))
        name = f"node {node.kind}" + (" current" if current else "" if done else " waiting")
        if step is None:
            return [name, "#f4f5f7", "no gradient", ""]
        derivative = f"∂{self.y}/∂{subscripted(node.name)}"
        terms = [contribution for _, contribution in step.received]
        if done:
            fill = self.scale.node_fill(length(step.gradient), sign(step.gradient))
            return [name, fill, equation(derivative, step.gradient), sum_text(terms) if len(terms) > 1 else ""]
        partial = f"{sum_text(terms[:arrived])} + …" if arrived else ""
        return [name, "#ffffff", f"{derivative} = {'…' if arrived else '?'}", partial if len(terms) > 1 else ""]

    def _is_sum(self, node: Node) -> bool:
        step = self.step_of.get(id(node))
        return step is not None and len(step.received) > 1

    def _size(self, node: Node) -> tuple[float, float]:
        """Width and height of a box with room for its texts after the last step."""
        texts = [self._title(node), value_text(node.value), *self._node_state(node, True, 0, False)[2:]]
        # The title is bold, and wider.
        widths = [len(text) * (CHARACTER if row else CHARACTER * 1.08) for row, text in enumerate(texts)]
        return max(84.0, max(widths) + 20), LINE_HEIGHT * (4 if self._is_sum(node) else 3) + 12

    def _title(self, node: Node) -> str:
        formula = node.formula if node.column is None else ""
        return f"{subscripted(node.name)} = {subscripted(formula)}" if formula else subscripted(node.name)

    def _box(self, number: int, node: Node, state: State) -> str:
        name, fill, gradient, total = state["nodes"][number]
        box = self.layout.boxes[node]
        x, y = box.x - box.width / 2, box.y - box.height / 2
        texts = [("name", self._title(node)), ("value", value_text(node.value)), ("gradient", gradient)]
        if self._is_sum(node):
            texts.insert(2, ("sum", total))
        rows = [
            f'<text class="{kind}" x="{box.x:.1f}" y="{y + 4 + LINE_HEIGHT * (row + 0.82):.1f}">'
            f"{markup.escape(text)}</text>"
            for row, (kind, text) in enumerate(texts)
        ]
        where = f'x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
        rectangle = f'<rect class="box" {where} rx="9" fill="{fill}"/>'
        return f'<g class="{name}" data-node="{number}">{rectangle}{"".join(rows)}</g>'

    def _line(self, number: int, edge: Edge, state: State) -> str:
        name, stroke = state["edges"][number]
        x, y = self.routing.points[edge][-1]
        line = f'<path class="line" d="{self.routing.path(edge)}" style="stroke:{stroke}"/>'
        tip = f'<path class="tip" d="M{x - 3:.1f},{y - 4:.1f} l8,4 l-8,4 z" fill="{stroke}"/>'
        return f'<g class="{name}" data-edge="{number}">{line}{tip}</g>'

    def _label(self, number: int, edge: Edge, state: State) -> str:
        x, y = self.routing.label_positions[edge]
        name = state["edges"][number][0]
        text = f'<text class="local" x="{x:.1f}" y="{y + 4:.1f}">{markup.escape(self.labels[edge].text)}</text>'
        return f'<g class="{name}" data-label="{number}">{text}</g>'

    def _column_heads(self) -> list[str]:
        """The name of a layer above its column, where the graph has fixed columns."""
        found = {node.column: node for node in self.nodes if node.column is not None}
        heads = []
        for column, node in found.items():
            title = f"layer {column - 1}: {node.formula}" if column else "input"
            heads.append(
                f'<text class="head" x="{self.layout.boxes[node].x:.1f}" y="-14">{markup.escape(title)}</text>'
            )
        return heads

    def _legend(self, width: float, height: float) -> str:
        x, y, parts = MARGIN, height - LEGEND + 26, []
        scale = "log scale" if self.scale.logarithmic else ""
        if self.signed:
            parts.append(legend.signed_bar(x, y, self.scale.largest, scale))
            x += 190
        if self.lengths:
            parts.append(legend.length_bar(x, y, self.scale.largest, scale))
            x += 190
        if not self.all_finite:
            parts.append(legend.not_finite_swatch(x, y))
            x += 90
        ratios = any(label.ratio is not None for label in self.labels.values())
        parts.append(legend.edge_note(x, y + 9, width - x - MARGIN, ratios))
        return "".join(parts)
