"""Which layer stands for which class of `torch.nn`: each is registered beside its own class."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from nets.calculus.layer import Layer
from nets.errors import InputError, quoted
from nets.text import one_line
from nets.torch_internals import own_buffers, own_parameters

SharingLayer = TypeVar("SharingLayer", bound=Layer)

Converter = Callable[[Any], Layer | None]
"""A torch module → the layer with the same function and the same parameters; None where its settings have no layer."""

_CONVERTERS: dict[type[nn.Module], Converter] = {}


def register(torch_class: type[nn.Module], converter: Converter) -> None:
    """Let `Network.from_torch` convert modules of exactly this class.

        nets.register(nn.Softsign, lambda module: Softsign())

    Args:
        torch_class: a class of modules; a subclass of it is another class.
        converter: module → layer, which shares the module's parameters; or None for settings that the layer does not
            have. A converter with the same module and name as the registered one replaces it, as after a cell of a
            notebook has run again.

    Raises:
        InputError: for something that is not a class of modules, a class that has another converter, or a converter
            that cannot be called.
    """
    if not isinstance(torch_class, type) or not issubclass(torch_class, nn.Module):
        raise InputError(
            f"the class to register is {quoted(torch_class)}; expected a subclass of torch.nn.Module, such as nn.Tanh."
        )
    if not callable(converter) or isinstance(converter, nn.Module):
        raise InputError(
            f"the converter of {torch_class.__name__} is {quoted(converter)}; expected a function module → layer, such "
            "as lambda module: Softsign()."
        )
    registered = _CONVERTERS.get(torch_class)
    if registered is not None and _definition(registered) != _definition(converter):
        raise InputError(
            f"the class to register is {torch_class.__name__}, which has the converter {_described(registered)} "
            "already; expected a class without one, or a function of that name to replace it: make a subclass of "
            f"{torch_class.__name__} for a second layer."
        )
    _CONVERTERS[torch_class] = converter


def _definition(converter: Converter) -> object:
    """Where a converter is defined: its module and name. A callable object without a name is only equal to itself."""
    name = getattr(converter, "__qualname__", None)
    return converter if name is None else (converter.__module__, name)


def _described(converter: Converter) -> str:
    definition = _definition(converter)
    return ".".join(definition) if isinstance(definition, tuple) else quoted(converter)


def sharing(layer: SharingLayer, module: nn.Module) -> SharingLayer:
    """The layer with the very parameters and buffers of the module, which has them under the same names."""
    for name in own_parameters(layer):
        own_parameters(layer)[name] = own_parameters(module)[name]
    for name in own_buffers(module):
        own_buffers(layer)[name] = own_buffers(module)[name]
    return layer.train(module.training)


def converted(index: int, module: nn.Module) -> Layer:
    """The layer for `module`, which is layer `index` of a sequence; a `Layer` is returned as it is.

    Raises:
        InputError: for a module of an unknown class or with settings that have no layer, and for a converter that
            fails or returns no layer.
    """
    if isinstance(module, Layer):
        return module
    converter = _CONVERTERS.get(type(module))
    try:
        layer = None if converter is None else converter(module)
    except InputError:
        raise
    except Exception as error:  # the converter is the caller's, and may raise anything
        raise InputError(
            f"the converter of {type(module).__name__} fails with {type(error).__name__} ({one_line(error)}) for layer "
            f"{index}; expected a function module → layer."
        ) from error
    if layer is None:
        known = ", ".join(torch_class.__name__ for torch_class in _CONVERTERS)
        raise InputError(
            f"layer {index} is {quoted(module)}; expected one of {known}, with settings that its layer has: register a "
            "converter with nets.register, or verify the module as it is with nets.verify(module, x)."
        )
    if not isinstance(layer, Layer):
        raise InputError(f"the converter of {type(module).__name__} returned {quoted(layer)}; expected a nets.Layer.")
    return layer
