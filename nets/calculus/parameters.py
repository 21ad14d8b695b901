"""Parameters of modules by name: other values for them, names from layer to network, and parameters with many uses."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from nets.torch_internals import own_buffers, own_modules, own_parameters

ModuleType = TypeVar("ModuleType", bound=nn.Module)


def with_parameters(module: ModuleType, parameters: Mapping[str, Tensor]) -> ModuleType:
    """The same module with other values of some parameters, by the names of `named_parameters`; at each of their uses.

    Nothing is copied, and the module stays as it is.
    """
    every = first_names(module)
    return _with(module, {name: parameters[first] for name, first in every.items() if first in parameters})


def _with(module: ModuleType, parameters: Mapping[str, Tensor]) -> ModuleType:
    view = copy.copy(module)
    own = {name: parameter for name, parameter in parameters.items() if "." not in name}
    view._parameters = {**own_parameters(module), **own}  # type: ignore[dict-item]
    inner: dict[str, dict[str, Tensor]] = {}
    for name, parameter in parameters.items():
        child, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(child, {})[rest] = parameter
    children = {name: _with(module.get_submodule(name), values) for name, values in inner.items()}
    view._modules = {**own_modules(module), **children}
    return view


def separated(modules: Iterable[ModuleType]) -> list[ModuleType]:
    """The modules, in which every place has a module of its own; parameters and buffers stay shared.

    `torch.func.functional_call` leaves wrong values in a module that is registered in two places.
    """
    seen: set[nn.Module] = set()

    def separate(module: Any) -> Any:
        if module in seen:
            return _another_use(module)
        seen.add(module)
        for name, child in own_modules(module).items():
            own_modules(module)[name] = child and separate(child)
        return module

    return [separate(module) for module in modules]


def _another_use(module: Any) -> Any:
    view = copy.copy(module)
    view._parameters = {**own_parameters(module)}
    view._buffers = {**own_buffers(module)}
    view._modules = {name: child and _another_use(child) for name, child in own_modules(module).items()}
    return view


def first_names(module: nn.Module) -> dict[str, str]:
    """The name of every use of a parameter → the name that `named_parameters` has for it, which is that of the first
    use."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(parameter), name)
        for name, parameter in module.named_parameters(remove_duplicate=False)
    }


def uses_of(module: nn.Module, name: str) -> list[str]:
    """The names of all uses of a parameter, in the order of the modules; what is no parameter has one use."""
    first = first_names(module)
    return [use for use in first if first[use] == first[name]] if name in first else [name]


def prefixed(prefix: object, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values by the names that the parameters of a child have in its parent: 'weight' → '0.weight'."""
    return {f"{prefix}.{name}": value for name, value in values.items()}


def within(prefix: object, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values of a child by its own names: '0.weight' → 'weight'. The reverse of `prefixed`."""
    start = f"{prefix}."
    return {name[len(start) :]: value for name, value in values.items() if name.startswith(start)}


def add_by_name(total: dict[str, Tensor], names: Mapping[str, str], found: Mapping[str, Tensor]) -> None:
    """Add values of a layer, by its own names, to a total by the names in the network.

    A parameter with several uses gets a value from each of them.
    """
    for own, name in names.items():
        total[name] = total[name] + found[own] if name in total else found[own]
