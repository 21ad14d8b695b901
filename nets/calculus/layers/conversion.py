"""Conversion of modules of `torch.nn` to layers. Each conversion is registered in the file of its layer."""

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

_CONVERTERS: dict[type[nn.Module] | str, Converter] = {}


class NoLayerError(InputError):
    """There is no layer for a module.

    Attributes:
        path: of the module, as in 'encoder.layers.0.attn'; '' for the module that was to be converted itself.
    """

    def __init__(self, path: str, module: nn.Module, expected: str) -> None:
        super().__init__(f"{_place(path)} is {quoted(module)}; expected {expected}")
        self.path, self.module, self.expected = path, module, expected

    def below(self, name: str) -> "NoLayerError":
        """The same, as seen from the module that contains it under this name."""
        return NoLayerError(_joined(name, self.path), self.module, self.expected)


def register(torch_class: type[nn.Module] | str, converter: Converter) -> None:
    """Let `Network.from_torch` convert modules of exactly this class.

        nets.register(nn.Softsign, lambda module: Softsign())

    Args:
        torch_class: a class of modules; a subclass of it is another class. Or its full name, such as
            'torchvision.models.vgg.VGG', so that its package need not be there.
        converter: module → layer, which shares the module's parameters; or None for settings that the layer does not
            have. A converter with the same module and name as the registered one replaces it, as after a cell of a
            notebook has run again.

    Raises:
        InputError: for something that is not a class of modules, a class that has another converter, or a converter
            that cannot be called.
    """
    if not _named_in_full(torch_class) and not (isinstance(torch_class, type) and issubclass(torch_class, nn.Module)):
        raise InputError(
            f"the class to register is {quoted(torch_class)}; expected a subclass of torch.nn.Module, such as nn.Tanh, "
            "or its full name, such as 'torch.nn.modules.activation.Tanh'."
        )
    name = _written(torch_class)
    if not callable(converter) or isinstance(converter, nn.Module):
        raise InputError(
            f"the converter of {name} is {quoted(converter)}; expected a function module → layer, such "
            "as lambda module: Softsign()."
        )
    registered = _CONVERTERS.get(torch_class)
    if registered is not None and _definition(registered) != _definition(converter):
        raise InputError(
            f"the class to register is {name}, which has the converter {_described(registered)} already; expected a "
            f"class without one, or a function of that name to replace it: make a subclass of {name} for a second "
            "layer."
        )
    _CONVERTERS[torch_class] = converter


def registered() -> list[str]:
    """The names of the classes that have a converter, without their modules."""
    return [_written(torch_class) for torch_class in _CONVERTERS]


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


def converted(name: str, module: nn.Module) -> Layer:
    """The layer for a module, which its parent has under this name; a `Layer` is returned as it is.

    Raises:
        InputError: for a module of an unknown class or with settings that have no layer, with its path; and for a
            converter that fails or returns no layer.
    """
    if isinstance(module, Layer):
        return module
    converter = _converter_of(module)
    try:
        layer = None if converter is None else converter(module)
    except NoLayerError as error:
        raise error.below(name) from None
    except InputError:
        raise
    except Exception as error:  # the converter is the caller's, and may raise anything
        raise InputError(
            f"the converter of {type(module).__name__} fails with {type(error).__name__} ({one_line(error)}) for "
            f"{_place(name)}; expected a function module → layer."
        ) from error
    if layer is None:
        raise NoLayerError(
            name,
            module,
            f"one of the {len(_CONVERTERS)} classes that the README lists under 'Layers', with settings that its layer "
            "has: register a converter with nets.register, or verify the module as it is with nets.verify(module, x).",
        )
    if not isinstance(layer, Layer):
        raise InputError(f"the converter of {type(module).__name__} returned {quoted(layer)}; expected a nets.Layer.")
    return layer


def children(module: nn.Module, *names: str) -> dict[str, Layer]:
    """The layers for these children of a module, by name."""
    return {name: converted(name, module.get_submodule(name)) for name in names}


def _converter_of(module: nn.Module) -> Converter | None:
    """The converter of its class, or of `nn.Sequential` where it is one without a forward of its own."""
    kind = type(module)
    sequence = _CONVERTERS.get(nn.Sequential) if getattr(kind, "forward", None) is nn.Sequential.forward else None
    return _CONVERTERS.get(kind) or _CONVERTERS.get(f"{kind.__module__}.{kind.__qualname__}") or sequence


def _named_in_full(torch_class: object) -> bool:
    return isinstance(torch_class, str) and all(map(str.isidentifier, torch_class.split("."))) and "." in torch_class


def _written(torch_class: type[nn.Module] | str) -> str:
    """The name of a class without its module."""
    return torch_class.rpartition(".")[2] if isinstance(torch_class, str) else torch_class.__name__


def _joined(name: str, path: str) -> str:
    return ".".join(part for part in (name, path) if part)


def _place(path: str) -> str:
    return f"layer {path}" if path else "the module"
