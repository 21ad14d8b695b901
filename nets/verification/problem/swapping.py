"""A module's output with other tensors in the places of its parameters and buffers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def swapped(module: nn.Module, given: Mapping[str, Tensor], arguments: Any) -> Any:
    """`module(*arguments)` with the `given` tensors in the places of parameters and buffers, by name, for this one call."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    owners = [(owner, key, parameter) for owner in module.modules() for key, parameter in owner._parameters.items()]
    # Where nothing has two names, nothing need be looked for.
    tied = len({id(tensor) for _, tensor in named}) < len(named)
    try:
        return functional_call(module, dict(given), tuple(arguments), tie_weights=tied)
    finally:
        # functional_call leaves the swapped tensors in a module that is registered under two names.
        for owner, key, parameter in owners:
            if owner._parameters[key] is not parameter:
                setattr(owner, key, parameter)
