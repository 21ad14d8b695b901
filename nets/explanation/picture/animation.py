"""The picture of a backward pass with a slider: SVG, style and script in one fragment, which loads nothing."""

import hashlib
import json
from collections.abc import Sequence

from nets.explanation.picture.drawing import STYLE, Drawing
from nets.explanation.picture.graph import Moment, Node
from nets.explanation.picture.labels import figures, lowered, sentences

PAGE = """
.nets-backward{font:15px/1.5 system-ui,"Segoe UI","DejaVu Sans",sans-serif;color:#1d2433;background:#fff;padding:1rem 1.4rem}
.nets-backward h1{font-size:1.3rem;font-weight:600;margin:.1rem 0 .6rem}
.nets-backward .controls{display:flex;gap:.6rem;align-items:center;max-width:56rem}
.nets-backward input{flex:1;accent-color:#e08a00}
.nets-backward button{font:inherit;border:1px solid #c3c9d4;background:#f5f7fa;border-radius:6px;padding:.15rem .8rem;
  cursor:pointer}
.nets-backward .step{min-width:6.5rem;text-align:right;color:#5b6577;font-variant-numeric:tabular-nums}
.nets-backward .caption{min-height:5.6rem;margin:.6rem 0;padding:.5rem .9rem;background:#f5f7fa;border-left:4px solid #e08a00;
  border-radius:4px;max-width:60rem}
.nets-backward .caption div{margin:.05rem 0}
.nets-backward .frame{overflow-x:auto}
.nets-backward svg{max-width:none}
"""

SCRIPT = """
(() => {
  const root = document.getElementById("KEY"), steps = STEPS;
  const slider = root.querySelector("input"), caption = root.querySelector(".caption"), count = root.querySelector(".step");
  const write = (group, name, text) => { const one = group.querySelector("." + name); if (one) one.textContent = text; };
  const show = () => {
    const step = Number(slider.value), state = steps[step];
    state.nodes.forEach(([name, fill, gradient, sum], number) => {
      const group = root.querySelector(`[data-node="${number}"]`);
      group.setAttribute("class", name);
      group.querySelector(".box").setAttribute("fill", fill);
      write(group, "gradient", gradient);
      write(group, "sum", sum);
    });
    state.edges.forEach(([name, colour], number) => {
      const line = root.querySelector(`[data-edge="${number}"]`);
      line.setAttribute("class", name);
      line.querySelector(".line").style.stroke = colour;
      line.querySelector(".tip").setAttribute("fill", colour);
      root.querySelector(`[data-label="${number}"]`).setAttribute("class", name);
    });
    caption.innerHTML = state.caption;
    count.textContent = `step ${step} of ${steps.length - 1}`;
  };
  const move = by => { slider.value = Number(slider.value) + by; show(); };
  slider.addEventListener("input", show);
  root.querySelector(".back").addEventListener("click", () => move(-1));
  root.querySelector(".on").addEventListener("click", () => move(1));
  slider.value = 0;
  show();
})();
"""

BEGINNING = (
    "<div><b>The forward pass is done:</b> every value is known, and on every line the local derivative.</div>"
    "<div>How does {y} move with each of them? The answer comes from the right, one node at a time.</div>"
)


def fragment(output: Node, moments: Sequence[Moment]) -> str:
    """For a notebook, or for the body of a page. Where no script may run, it shows the last step."""
    drawing = Drawing(output, moments)
    y = lowered(output.name)
    svg = drawing.svg(embedded=True)
    captions = [BEGINNING.format(y=y)]
    captions += ["".join(f"<div>{one}</div>" for one in sentences(moment, y)) for moment in moments]
    states = [{**drawing.state(step), "caption": caption} for step, caption in enumerate(captions)]
    written = json.dumps(states, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    key = "nets-" + hashlib.sha256(written.encode()).hexdigest()[:12]
    script = SCRIPT.replace("KEY", key).replace("STEPS", written)
    last = len(moments)
    controls = (
        f'<div class="controls"><button class="back" aria-label="one step back">◀</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="step">'
        '<button class="on" aria-label="one step on">▶</button>'
        f'<span class="step">step {last} of {last}</span></div>'
    )
    return (
        f'<div class="nets-backward" id="{key}">\n<style>{PAGE}{STYLE}</style>\n<h1>{_title(output, moments)}</h1>\n{controls}\n'
        f'<div class="caption">{captions[-1]}</div>\n<div class="frame">{svg}</div>\n<script>{script}</script>\n</div>'
    )


def _title(output: Node, moments: Sequence[Moment]) -> str:
    """'y = 1.761 at x = 2'."""
    given = sorted((moment.node for moment in moments if moment.node.kind == "input"), key=lambda node: node.name)
    at = [f"{lowered(node.name)} = {figures(node.value)}" for node in given if node.value.numel() <= 4][:5]
    return f"The backward pass of {lowered(output.name)} = {figures(output.value)}" + (f" at {', '.join(at)}" if at else "")
