"""picture(function, *inputs) → BackwardPicture: the backward pass of one number, node by node."""

import html as markup
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nets.calculus.network import Network
from nets.errors import InputError, quoted
from nets.explanation.picture.drawing.drawing import Drawing
from nets.explanation.picture.graph.function_graph import function_graph
from nets.explanation.picture.graph.graph import BackwardStep, Node, backward, topological_order
from nets.explanation.picture.graph.network_graph import graph_of_copy
from nets.explanation.picture.slider_page import fragment

MAX_NODES = 120
"""A picture of more nodes cannot be read."""


@dataclass(frozen=True)
class BackwardPicture:
    """The graph of a computation: value and gradient on every node, local derivative on every edge.

    Attributes:
        output: the number that is differentiated.
        backward_steps: the backward pass, from the output on.
    """

    output: Node
    backward_steps: tuple[BackwardStep, ...]

    @property
    def value(self) -> float:
        """The number that is differentiated."""
        return float(self.output.value)

    @property
    def gradients(self) -> dict[str, Tensor]:
        """∂y/∂θ of every input and parameter, by name."""
        leaves = ("input", "parameter")
        return {step.node.name: step.gradient for step in self.backward_steps if step.node.kind in leaves}

    @property
    def slider_positions(self) -> int:
        """The forward pass, and one position for every node."""
        return len(self.backward_steps) + 1

    def to_svg(self) -> str:
        """The whole backward pass in one drawing."""
        return Drawing(self.output, self.backward_steps).svg()

    def to_html(self) -> str:
        """A self-contained page with a slider for the steps."""
        title = f"<title>the backward pass of {markup.escape(self.output.name)}</title>"
        head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{title}'
        body = f'<body style="margin:0">\n{self._repr_html_()}\n</body>'
        return f'<!doctype html>\n<html lang="en"><head>{head}</head>{body}</html>\n'

    def _repr_html_(self) -> str:
        return fragment(self.output, self.backward_steps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page with the slider to `path`, and the drawing beside it with the ending .svg.

        Raises:
            InputError: if `path` does not end in .html, or if one of the two files exists.
        """
        if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
            raise InputError(f"the path of the picture is {quoted(path)}; expected a path that ends in .html.")
        page = Path(path)
        if page.suffix != ".html":
            raise InputError(
                f"the path of the picture is {quoted(str(page))}; expected a name that ends in .html, "
                "such as backward.html."
            )
        for file in (page, page.with_suffix(".svg")):
            if file.exists():
                raise InputError(f"{file} exists already, and nothing is ever overwritten: choose another name.")
        page.write_text(self.to_html(), encoding="utf-8")
        page.with_suffix(".svg").write_text(self.to_svg(), encoding="utf-8")


def picture(
    function: Callable[..., Any],
    *inputs: Any,
    output: int | tuple[int, ...] | None = None,
    sample: int = 0,
    names: tuple[str, ...] | None = None,
) -> BackwardPicture:
    """The backward pass of one number as a picture.

    A `nets.Network` is drawn in float64: a node for every unit of a small network, or else a node for every layer and
    parameter. For any other function, the operations that ran are drawn, whatever its loops and conditions do; each
    local derivative is PyTorch's own, of that operation alone. NaN and infinity have a colour of their own: √x in the
    branch of a `torch.where` that is not taken contributes 0 · NaN = NaN, for instance.

    Args:
        function: a network, a module, or a function of tensors.
        inputs: its arguments; a number becomes a float64 tensor.
        output: index of the number that is differentiated, if the result has several; 0 for a network if None.
        sample: n, for a network.
        names: of the inputs; those of the function's parameters if None.

    Raises:
        InputError: if there is no such number or no gradient, if the function has a backward of its own or changes a
            tensor in place through a view, or if the graph has more than 120 nodes.
    """
    if isinstance(function, Network):
        node = graph_of_copy(function, inputs, output, sample)
    else:
        node = function_graph(function, inputs, output, names)
    drawn = picture_of(node)
    if drawn is None:
        count = len(topological_order(node))
        raise InputError(
            f"the picture would have {count:,} nodes; expected at most {MAX_NODES}: draw a part of the computation."
        )
    return drawn


def picture_of(output: Node) -> BackwardPicture | None:
    """The picture of a graph; None if it has more than `MAX_NODES` nodes."""
    return BackwardPicture(output, tuple(backward(output))) if len(topological_order(output)) <= MAX_NODES else None
