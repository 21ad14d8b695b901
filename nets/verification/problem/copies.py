"""Copies of a module and of its inputs, so that the caller's own are left alone."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nets.errors import InputError
from nets.text import one_line
from nets.torch_internals import custom_operators, gradient_hooks, own_buffers, pytree
from nets.verification.attempt import callers_errors_as
from nets.verification.problem.strides import duplicate

COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}


def copied(module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """A copy on the CPU in that precision; None to leave the precision as it is.

    Raises:
        InputError: for a module that cannot be copied, or whose parameters cannot be differentiated.
    """
    check_usable(module)
    twin = _deep(module, {})
    # A deep copy of a parameter loses its hooks.
    for parameter, original in zip(twin.parameters(), module.parameters(), strict=True):
        for hook in gradient_hooks(original):
            parameter.register_hook(hook)
        parameter.grad = None
    with torch.no_grad():
        for parameter, original in zip(twin.parameters(), module.parameters(), strict=True):
            # A deep copy of a parameter that is a slice is contiguous.
            parameter.data = duplicate(cast(parameter.data.cpu(), dtype), original)
        originals = dict(module.named_buffers(remove_duplicate=False))
        for path, owner in twin.named_modules(remove_duplicate=False):
            for name, buffer in own_buffers(owner).items():
                if buffer is not None:
                    source = originals[f"{path}.{name}" if path else name]
                    own_buffers(owner)[name] = duplicate(cast(buffer.cpu(), dtype), source)
    return twin


def twin_of(module: nn.Module) -> nn.Module:
    """A copy that shares its parameters with the module."""
    return _deep(module, {id(parameter): parameter for parameter in module.parameters()})


def copied_input(name: str, leaf: Any, dtype: torch.dtype | None) -> Any:
    """A contiguous copy of a tensor on the CPU in that precision; anything else as it is."""
    if not isinstance(leaf, Tensor):
        return leaf
    check_tensor(name, leaf)
    return cast(leaf.cpu(), dtype).detach().clone(memory_format=torch.contiguous_format)


def cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The tensor in that precision, if it is floating point or complex."""
    if dtype is None or not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    return tensor.to(COMPLEX[dtype] if tensor.is_complex() else dtype)


def _deep(module: nn.Module, kept: dict[int, Any]) -> nn.Module:
    """A deep copy; `kept` maps the id of an object to its replacement in the copy."""
    with callers_errors_as(_uncopied):
        return copy.deepcopy(module, kept | library_operators(module) | _without_graphs(module))


def _uncopied(error: Exception) -> InputError:
    return InputError(
        f"the module cannot be copied ({one_line(error)}); expected one that copy.deepcopy takes, since only a copy is "
        "moved and called: keep no tensors with a graph as its attributes."
    )


def _without_graphs(module: nn.Module) -> dict[int, Any]:
    """Detached copies of the stored graphs, by the id of their tensor: a deep copy refuses them, and the next call
    overwrites them."""
    return {id(tensor): tensor.detach().clone() for _, _, tensor in stored_graphs(module)}


def stored_graphs(module: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    """(submodule, attribute, tensor) of each tensor with a graph that an earlier call left in an attribute."""
    for name, inner in module.named_modules():
        for attribute, value in vars(inner).items():
            for leaf in pytree.tree_leaves(value):
                if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
                    yield name, attribute, leaf


def library_operators(module: nn.Module) -> dict[int, Any]:
    """Operators of `torch.library` among the attributes, by their id. A copy shares them, as `copy.deepcopy` shares
    functions."""
    values = [value for inner in module.modules() for value in vars(inner).values()]
    known = {id(operator) for operator in custom_operators()}
    return {id(value): value for value in values if id(value) in known}


def check_usable(module: nn.Module) -> None:
    """Raise InputError for a module that is compiled by torch.jit, or that has a parameter which cannot be
    differentiated."""
    for name, inner in module.named_modules():
        if isinstance(inner, torch.jit.ScriptModule):
            raise InputError(
                f"{f'the submodule {name}' if name else 'the module'} is compiled by torch.jit; expected one in "
                "Python, whose parameters can be moved and whose gradients can be watched: verify the module that it "
                "was compiled from."
            )
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise InputError(
                f"{name} has no shape yet; expected a module whose parameters have numbers: call it once first."
            )
        check_tensor(name, parameter)


def check_tensor(name: str, tensor: Tensor) -> None:
    """Raise InputError unless the tensor is dense, has numbers, and has a precision that PyTorch calculates in."""
    if tensor.layout != torch.strided or tensor.is_nested:
        raise InputError(f"{name} is sparse or nested; expected a dense tensor: call to_dense() on it.")
    if tensor.is_floating_point() and tensor.dtype.itemsize == 1:
        raise InputError(
            f"{name} is {tensor.dtype}, in which PyTorch does not calculate; expected another precision: call "
            "to(torch.float32)."
        )
    if tensor.is_meta:
        raise InputError(
            f"{name} is on the device 'meta'; expected a tensor that has numbers: make it on another device."
        )
