"""picture(function, *inputs) → BackwardPicture: the backward pass of one number, node by node."""

import copy
import html as markup
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nets.calculus.network import Network
from nets.errors import InputError, quoted
from nets.explanation.entries import unit
from nets.explanation.picture.animation import fragment
from nets.explanation.picture.drawing import Drawing
from nets.explanation.picture.graph import Moment, Node, backward, ordered
from nets.explanation.picture.tracing import Recorder
from nets.explanation.picture.units import network_graph

MOST_NODES = 120
"""Beyond which nobody can read the picture."""


@dataclass(frozen=True)
class BackwardPicture:
    """The graph of a computation with the value and the gradient of every node, and the local derivative on every edge.

    Attributes:
        output: the number that is differentiated.
        moments: the backward pass, from the output on.
    """

    output: Node
    moments: tuple[Moment, ...]

    @property
    def value(self) -> float:
        """The number that is differentiated."""
        return float(self.output.value)

    @property
    def gradients(self) -> dict[str, Tensor]:
        """∂y/∂θ of every input and parameter, by name."""
        return {moment.node.name: moment.gradient for moment in self.moments if moment.node.kind in ("input", "parameter")}

    @property
    def steps(self) -> int:
        """Positions of the slider: the forward pass, and a step for every node."""
        return len(self.moments) + 1

    def to_svg(self) -> str:
        """The whole backward pass in one drawing, which stands still."""
        return Drawing(self.output, self.moments).svg()

    def to_html(self) -> str:
        """A page of its own with a slider for the steps; it needs nothing else."""
        name = markup.escape(self.output.name)
        head = (
            f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>the backward pass of {name}</title>'
        )
        return (
            f'<!doctype html>\n<html lang="en"><head>{head}</head><body style="margin:0">\n{self._repr_html_()}\n</body></html>\n'
        )

    def _repr_html_(self) -> str:
        return fragment(self.output, self.moments)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to `path`, and beside it the drawing that stands still, with the ending .svg.

        Raises:
            InputError: if `path` does not end in .html, or one of the two is there already, since nothing is ever overwritten.
        """
        if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
            raise InputError(f"the picture was to be saved as {quoted(path)}; expected a path that ends in .html.")
        page = Path(path)
        if page.suffix != ".html":
            raise InputError(
                f"the picture was to be saved as {quoted(str(page))}; expected a name that ends in .html, such as backward.html."
            )
        for one in (page, page.with_suffix(".svg")):
            if one.exists():
                raise InputError(f"{one} is there already, and nothing is ever overwritten: choose another name.")
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

    A `nets.Network` is drawn in float64, with a node for every unit where there are few and else one for every layer and parameter.
    Of anything else the operations that are really done are drawn, whatever way its loops and conditions take; the local
    derivatives are PyTorch's own, of each operation by itself. NaN and infinity are drawn like other values, in a colour of their
    own: √x in the branch of a `torch.where` that is not taken hands on 0 · NaN = NaN, for instance.

    Args:
        function: a network, a module, or a function of tensors.
        inputs: what it is given; a number becomes a float64 tensor.
        output: which number of the result is differentiated, where it has more than one; 0 for a network if None.
        sample: of the batch that a network is given.
        names: of the inputs; those of the function's parameters if None.

    Raises:
        InputError: if there is no such number, no gradient, or more than 120 nodes.
    """
    node = (
        _network(function, inputs, output, sample) if isinstance(function, Network) else _recorded(function, inputs, output, names)
    )
    found = drawn(node)
    if found is None:
        count = len(ordered(node))
        raise InputError(f"the picture would have {count:,} nodes; expected at most {MOST_NODES}: draw a part of the computation.")
    return found


def drawn(output: Node) -> BackwardPicture | None:
    """The picture of a graph; None if it has too many nodes to be read."""
    return BackwardPicture(output, tuple(backward(output))) if len(ordered(output)) <= MOST_NODES else None


def _network(network: Network, inputs: tuple[Any, ...], output: int | tuple[int, ...] | None, sample: int) -> Node:
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
        raise InputError(f"a network was given {len(inputs)} inputs; expected one tensor of shape (samples, features).")
    network = copy.deepcopy(network).double()
    _dense("X", inputs[0])
    x = inputs[0].detach().double()
    x = x[None] if x.ndim == 1 else x
    network.check(x)
    n = unit("sample", sample, len(x))
    with torch.no_grad():
        outputs = network(x[n : n + 1]).shape[1]
    return network_graph(network, x[n : n + 1], unit("output", 0 if output is None else output, outputs))


def _recorded(
    function: Callable[..., Any], inputs: tuple[Any, ...], output: int | tuple[int, ...] | None, names: tuple[str, ...] | None
) -> Node:
    if not callable(function):
        raise InputError(f"picture was given a {type(function).__name__}; expected a function or a module, and then its inputs.")
    if isinstance(function, nn.Module):
        if any(is_lazy(parameter) or parameter.is_meta for parameter in function.parameters()):
            raise InputError(f"{type(function).__name__} has parameters without numbers; expected a module that can be called.")
        function = copy.deepcopy(function)
    tensors = [_tensor(one) for one in inputs]
    known = {
        name: (tensor, "input" if tensor.is_floating_point() else "constant")
        for name, tensor in zip(_names(function, len(inputs), names), tensors, strict=True)
    }
    if isinstance(function, nn.Module):
        known |= {name: (parameter, "parameter") for name, parameter in function.named_parameters()}
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), Recorder(known) as recorder:
        result = _called(function, tensors)
        y = _number(result, output)
    node = recorder.node_of(y)
    if node is None or not y.requires_grad:
        raise InputError(
            f"the result, {_brief(y)}, depends on no input smoothly; expected one that has a gradient: look for detach or .item()."
        )
    _agree(node, y, known)
    _number_off(node, set(known))
    return node


def _called(function: Callable[..., Any], tensors: list[Tensor]) -> Any:
    try:
        return function(*tensors)
    except InputError:
        raise
    except Exception as error:  # whatever is wrong in somebody's function
        said = " ".join(str(error).split())
        raise InputError(
            f"the function raises {type(error).__name__}{f' ({said})' if said else ''}; expected one that can be called with "
            f"{len(tensors)} tensor{'s' * (len(tensors) != 1)}."
        ) from error


def _number_off(output: Node, taken: set[str]) -> None:
    """v1, v2, … in the order of computation, of those that y was made of; y itself; other letters where an input has these."""
    letter = next(one for one in ("v", "u", "w", "node") if not any(re.fullmatch(rf"{one}\d+", name) for name in taken))
    made = [node for node in ordered(output) if node.kind == "operation"]
    names = {node.name: f"{letter}{number + 1}" for number, node in enumerate(made)}
    if made:
        names[output.name] = next(one for one in ("y", "f", "result") if one not in taken)
    for node in made:
        node.formula = re.sub("‹\\d+›", lambda found: names.get(found[0], "…"), node.formula)
        node.name = names[node.name]


def _tensor(given: Any) -> Tensor:
    if isinstance(given, Tensor):
        _dense("an input", given)
        own = given.detach().clone()
        return own.requires_grad_() if own.is_floating_point() else own
    number = isinstance(given, int | float) and not isinstance(given, bool)
    # NaN and infinity are drawn; an int may be larger than any number of double precision.
    if not number or (isinstance(given, int) and abs(given) > sys.float_info.max):
        raise InputError(f"the input {quoted(given)} is a {type(given).__name__}; expected a tensor or a number.")
    return torch.tensor(float(given), dtype=torch.float64, requires_grad=True)


def _names(function: Callable[..., Any], count: int, names: tuple[str, ...] | None) -> tuple[str, ...]:
    if names is not None:
        known = isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
        if not known or len(names) != count or len(set(names)) != count:
            raise InputError(f"names is {quoted(names)} for {count} inputs; expected a different name for each.")
        return tuple(names)
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        found = [one.name for one in inspect.signature(called).parameters.values() if one.kind in kinds]
    except ValueError:  # a function in C
        found = []
    if isinstance(function, nn.Module):
        found = ["x" if name == "input" else name for name in found]
    return tuple(found[:count]) if len(found) >= count else ("x",) if count == 1 else tuple(f"x{i + 1}" for i in range(count))


def _number(result: Any, output: int | tuple[int, ...] | None) -> Tensor:
    if not isinstance(result, Tensor):
        raise InputError(f"the function gave a {type(result).__name__}; expected one tensor.")
    _dense("the result", result)
    if output is None:
        if result.numel() != 1:
            such = tuple(0 for _ in result.shape) if result.ndim > 1 else 0
            raise InputError(f"the result has the shape {tuple(result.shape)}; expected one number: add output={such}, say.")
        return result
    index = output if isinstance(output, tuple) else (output,)
    whole = all(type(one) is int and -result.numel() <= one < result.numel() for one in index)
    try:
        chosen = result[index] if whole else result
    except IndexError:
        chosen = result
    if not whole or chosen.numel() != 1:
        raise InputError(f"output={quoted(output)} chooses no number of a result of the shape {tuple(result.shape)}.")
    return chosen


def _dense(name: str, tensor: Tensor) -> None:
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_complex():
        raise InputError(
            f"{name} is of {tensor.dtype}, on {tensor.device}, with the layout {tensor.layout}; expected a dense tensor of real "
            "numbers: look at its real and imaginary parts apart, or call to_dense() or dequantize()."
        )


def _agree(node: Node, y: Tensor, known: Mapping[str, tuple[Tensor, str]]) -> None:
    """The sum over the graph must be what PyTorch's backward pass gives, or something was done that was not seen."""
    floating = {name: tensor for name, (tensor, _) in known.items() if tensor.requires_grad}
    found = {moment.node.name: moment.gradient for moment in backward(node)}
    truth = torch.autograd.grad(y, list(floating.values()), torch.ones_like(y), allow_unused=True)
    for (name, tensor), true in zip(floating.items(), truth, strict=True):
        own = found.get(name, torch.zeros_like(tensor))
        true = torch.zeros_like(tensor) if true is None else true
        tolerance = 1e3 * torch.finfo(tensor.dtype).eps
        finite = true[torch.isfinite(true)].abs()
        scale = 1 + (float(finite.max()) if finite.numel() else 0.0)
        # NaN and infinity must stand where they stand in PyTorch's own gradient.
        if not torch.allclose(own, true, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
            raise InputError(
                f"the operations that were seen do not account for the gradient by {name}: something has a backward of its "
                "own, such as a torch.autograd.Function or a hook; expected plain operations on tensors."
            )


def _brief(y: Tensor) -> str:
    return f"{float(y.detach()):.6g}"
