"""A function of tensors as a graph: the operations that ran, checked against PyTorch's backward pass of the whole."""

import copy
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nets.errors import InputError, quoted
from nets.explanation.picture.graph.graph import Node, backward, topological_order
from nets.explanation.picture.graph.recorder import Recorder


def function_graph(
    function: Callable[..., Any],
    inputs: tuple[Any, ...],
    output: int | tuple[int, ...] | None,
    names: tuple[str, ...] | None,
) -> Node:
    """The node of the number that is differentiated.

    Args:
        function: a module, which is copied, or a function.
        inputs: its arguments.
        output: index of the number in the result; None if the result is one number.
        names: of the inputs; those of the function's parameters if None.

    Raises:
        InputError: if the arguments do not fit, or if the graph does not give PyTorch's gradient.
    """
    if not callable(function):
        raise InputError(
            f"picture was given a {type(function).__name__}; expected a function or a module, and then its inputs."
        )
    if isinstance(function, nn.Module):
        if any(is_lazy(parameter) or parameter.is_meta for parameter in function.parameters()):
            raise InputError(
                f"{type(function).__name__} has parameters without numbers; expected a module that can be called."
            )
        function = copy.deepcopy(function)
    tensors = [_input_tensor(given) for given in inputs]
    leaves = {
        name: (tensor, "input" if tensor.is_floating_point() else "constant")
        for name, tensor in zip(_input_names(function, len(inputs), names), tensors, strict=True)
    }
    if isinstance(function, nn.Module):
        leaves |= {name: (parameter, "parameter") for name, parameter in function.named_parameters()}
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), Recorder(leaves) as recorder:
        y = _single_number(_call(function, tensors), output)
    node = recorder.node_of(y)
    if node is None or not y.requires_grad:
        raise InputError(
            f"the result, {float(y.detach()):.6g}, has no gradient by any input; expected a result that has one: "
            "look for detach or .item()."
        )
    _check_gradients(node, y, leaves)
    _name_nodes(node, set(leaves))
    return node


def _call(function: Callable[..., Any], tensors: list[Tensor]) -> Any:
    try:
        return function(*tensors)
    except InputError:
        raise
    except Exception as error:  # the caller's function may raise anything
        message = " ".join(str(error).split())
        raise InputError(
            f"the function raises {type(error).__name__}{f' ({message})' if message else ''}; expected a function that "
            f"can be called with {len(tensors)} tensor{'s' * (len(tensors) != 1)}."
        ) from error


def _name_nodes(output: Node, taken: set[str]) -> None:
    """Name the operations v1, v2, … in the order of computation and the result y, or by other letters if taken."""
    letters = ("v", "u", "w", "node")
    letter = next(one for one in letters if not any(re.fullmatch(rf"{one}\d+", name) for name in taken))
    operations = [node for node in topological_order(output) if node.kind == "operation"]
    names = {node.name: f"{letter}{number + 1}" for number, node in enumerate(operations)}
    if operations:
        names[output.name] = next(name for name in ("y", "f", "result") if name not in taken)
    for node in operations:
        node.formula = re.sub("‹\\d+›", lambda found: names.get(found[0], "…"), node.formula)
        node.name = names[node.name]


def _input_tensor(given: Any) -> Tensor:
    if isinstance(given, Tensor):
        expect_dense("an input", given)
        own = given.detach().clone()
        return own.requires_grad_() if own.is_floating_point() else own
    number = isinstance(given, int | float) and not isinstance(given, bool)
    # NaN and infinity are drawn; a whole number beyond float64 is refused.
    if not number or (isinstance(given, int) and abs(given) > sys.float_info.max):
        raise InputError(f"the input {quoted(given)} is a {type(given).__name__}; expected a tensor or a number.")
    return torch.tensor(float(given), dtype=torch.float64, requires_grad=True)


def _input_names(function: Callable[..., Any], count: int, names: tuple[str, ...] | None) -> tuple[str, ...]:
    if names is not None:
        strings = isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
        if not strings or len(names) != count or len(set(names)) != count:
            raise InputError(f"names is {quoted(names)} for {count} inputs; expected a different name for each.")
        return tuple(names)
    called = function.forward if isinstance(function, nn.Module) else function
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        found = [p.name for p in inspect.signature(called).parameters.values() if p.kind in positional]
    except ValueError:  # a function written in C has no signature
        found = []
    if isinstance(function, nn.Module):
        found = ["x" if name == "input" else name for name in found]
    if len(found) >= count:
        return tuple(found[:count])
    return ("x",) if count == 1 else tuple(f"x{number + 1}" for number in range(count))


def _single_number(result: Any, output: int | tuple[int, ...] | None) -> Tensor:
    if not isinstance(result, Tensor):
        raise InputError(f"the function returned a {type(result).__name__}; expected one tensor.")
    expect_dense("the result", result)
    shape = tuple(result.shape)
    if output is None:
        if result.numel() != 1:
            example = tuple(0 for _ in shape) if result.ndim > 1 else 0
            raise InputError(
                f"the result has the shape {shape}; expected one number: choose one with output={example}."
            )
        return result
    index = output if isinstance(output, tuple) else (output,)
    whole = all(type(part) is int and -result.numel() <= part < result.numel() for part in index)
    try:
        chosen = result[index] if whole else result
    except IndexError:
        chosen = result
    if not whole or chosen.numel() != 1:
        raise InputError(f"output={quoted(output)} is not the index of one number in a result of the shape {shape}.")
    return chosen


def expect_dense(name: str, tensor: Tensor) -> None:
    """Raise InputError unless the tensor is dense, real and has numbers."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_complex():
        raise InputError(
            f"{name} is of {tensor.dtype}, on {tensor.device}, with the layout {tensor.layout}; expected a dense "
            "tensor of real numbers: pass its real or its imaginary part, or call to_dense() or dequantize()."
        )


def _check_gradients(node: Node, y: Tensor, leaves: Mapping[str, tuple[Tensor, str]]) -> None:
    """Compare the sums over the graph with PyTorch's backward pass: they differ if an operation was not recorded."""
    floating = {name: tensor for name, (tensor, _) in leaves.items() if tensor.requires_grad}
    graph_gradients = {step.node.name: step.gradient for step in backward(node)}
    gradients = torch.autograd.grad(y, list(floating.values()), torch.ones_like(y), allow_unused=True)
    for (name, tensor), gradient in zip(floating.items(), gradients, strict=True):
        found = graph_gradients.get(name, torch.zeros_like(tensor))
        expected = torch.zeros_like(tensor) if gradient is None else gradient
        tolerance = 1e3 * torch.finfo(tensor.dtype).eps
        finite = expected[torch.isfinite(expected)].abs()
        scale = 1 + (float(finite.max()) if finite.numel() else 0.0)
        # NaN and infinity must be in the same entries.
        if not torch.allclose(found, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
            raise InputError(
                f"the recorded operations do not give PyTorch's gradient by {name}: something has a backward "
                "of its own, such as a torch.autograd.Function or a hook; expected plain operations on tensors."
            )
