"""The picture of a backward pass with a slider: SVG, CSS and JavaScript in one fragment, which loads nothing."""

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files

from nets.explanation.picture.captions import caption, first_caption
from nets.explanation.picture.drawing.drawing import CSS, Drawing
from nets.explanation.picture.drawing.labels import subscripted, value_text
from nets.explanation.picture.graph.graph import BackwardStep, Node

FOLDER = files("nets.explanation.picture")


def fragment(output: Node, steps: Sequence[BackwardStep]) -> str:
    """HTML for a notebook, or for the body of a page. Where scripts are blocked, it shows the last step."""
    drawing = Drawing(output, steps)
    svg = drawing.svg(embedded=True)
    captions = [first_caption(output.name), *(caption(step, output.name) for step in steps)]
    states = [{**drawing.state(position), "caption": text} for position, text in enumerate(captions)]
    # No "</" inside a script: the browser would end it there.
    data = json.dumps(states, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    key = "nets-" + hashlib.sha256(data.encode()).hexdigest()[:12]
    script = (FOLDER / "slider_page.js").read_text("utf-8")
    style = (FOLDER / "slider_page.css").read_text("utf-8")
    last = len(steps)
    controls = (
        f'<div class="controls"><button class="back" aria-label="one step back">◀</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="step">'
        '<button class="on" aria-label="one step on">▶</button>'
        f'<span class="step">step {last} of {last}</span></div>'
    )
    return (
        f'<div class="nets-backward" id="{key}">\n<style>\n{style}\n{CSS}</style>\n'
        f"<h1>{_title(output, steps)}</h1>\n{controls}\n"
        f'<div class="caption">{captions[-1]}</div>\n<div class="frame">{svg}</div>\n'
        f'<script>\n(\n{script})("{key}", {data});\n</script>\n</div>'
    )


def _title(output: Node, steps: Sequence[BackwardStep]) -> str:
    """'y = 1.761 at x = 2'."""
    inputs = sorted((step.node for step in steps if step.node.kind == "input"), key=lambda node: node.name)
    at = [f"{subscripted(node.name)} = {value_text(node.value)}" for node in inputs if node.value.numel() <= 4][:5]
    value = f"The backward pass of {subscripted(output.name)} = {value_text(output.value)}"
    return f"{value} at {', '.join(at)}" if at else value
