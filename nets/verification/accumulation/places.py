"""Where an object keeps what calls can change: how that is read, put back and named, object by object."""

import collections
import contextlib
import functools
import random
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STATEFUL = ("torch.nn.", "torch.optim.", "torch.amp.", "torch.cuda.amp.")
"""Libraries' own classes whose objects are looked into. Others (writers, loaders, loggers) have threads and files of their own."""

OWN_NAMES = ("_parameters", "_buffers", "_modules")
"""Dicts of a module whose keys are read as its attributes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Something that holds named values.

    Attributes:
        read: name → value, as it is now.
        write: puts such a dict back.
        naming: the path of one of its values.
        opaque: whether the values are a copy of its state, with nothing inside that could be changed.
    """

    read: Callable[[], dict[Any, Any]]
    write: Callable[[dict[Any, Any]], object]
    naming: Callable[[Any], str]
    opaque: bool = False


def places(path: str, value: Any) -> Iterator[Place]:
    """What holds values in an object."""
    if isinstance(value, dict):
        yield _of_dict(value, lambda name: f"{path}[{name!r}]")
    elif isinstance(value, list | collections.deque):
        yield _of_sequence(value, value.extend, path)
    elif isinstance(value, set):
        yield _of_sequence(value, value.update, path)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(path, value)
    elif isinstance(value, type):
        if _callers(value.__module__):
            yield from (_of_attribute(path, value, name) for name, inner in vars(value).items() if _is_data(name, inner))
    elif isinstance(value, np.ndarray):
        yield _of_state(path, value.copy, lambda numbers: np.copyto(value, numbers))
    elif isinstance(value, torch.Generator):
        yield _of_state(path, value.get_state, value.set_state)
    elif isinstance(value, random.Random):
        yield _of_state(path, value.getstate, value.setstate)
    elif isinstance(value, np.random.Generator):
        bits: Any = value.bit_generator
        yield _of_state(path, lambda: bits.state, lambda state: setattr(bits, "state", state))
    else:
        yield from _of_object(path, value)


def _of_object(path: str, value: Any) -> Iterator[Place]:
    own = None
    with contextlib.suppress(Exception):  # whatever an object of the caller's does when it is asked for its attributes
        own = vars(value)
    if isinstance(own, dict) and _looked_into(value):
        named = OWN_NAMES if isinstance(value, nn.Module) else ()
        yield _of_dict(own, lambda name: f"{path}.{name}", without=named)
        if named:
            yield from (_of_dict(own[name], lambda key: f"{path}.{key}") for name in OWN_NAMES if name in own)
    if isinstance(value, Tensor):
        for hooks in (value._backward_hooks, value._post_accumulate_grad_hooks):
            if hooks:
                yield _of_dict(hooks, lambda name: f"hook {name} of {path}")
    for kind in type(value).__mro__ if _callers(type(value).__module__) else ():
        slots = [name for name, inner in vars(kind).items() if isinstance(inner, types.MemberDescriptorType)]
        yield from (_of_attribute(path, value, name) for name in slots)


def parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What an object consists of and cannot change."""
    if isinstance(value, tuple | frozenset):
        yield from ((f"{path}[{i}]", inner) for i, inner in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from ((path, inner) for inner in (value.func, value.args, value.keywords))
    elif isinstance(value, types.MethodType):
        yield from ((path, inner) for inner in (value.__self__, value.__func__))
    elif isinstance(value, types.BuiltinMethodType) and not isinstance(value.__self__, types.ModuleType):
        yield path, value.__self__
    elif isinstance(value, types.FunctionType):
        yield from ((path, inner) for inner in (value.__defaults__, value.__kwdefaults__))
    elif isinstance(value, type):
        if _callers(value.__module__):
            yield from ((path, getattr(inner, "__func__", inner)) for inner in vars(value).values() if _is_function(inner))
            yield from ((path, kind) for kind in value.__bases__)
    elif not isinstance(value, types.ModuleType) and _looked_into(value):
        yield type(value).__name__, type(value)


def _of_function(path: str, function: types.FunctionType) -> Iterator[Place]:
    yield _of_dict(function.__dict__, lambda name: f"{path}.{name}")
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield Place(functools.partial(_inside, name, cell), functools.partial(_into, name, cell), str)
    # Only the caller's functions: what a library's refer to is no end.
    if _callers(function.__module__):
        names = _names(function.__code__)
        scopes = [function.__globals__, *(vars(m) for m in map(function.__globals__.get, names) if _is_callers_module(m))]
        yield from (_of_key(scope, name) for scope in scopes for name in names if name in scope)


def _of_key(scope: dict[str, Any], name: str) -> Place:
    return Place(lambda: {name: scope[name]} if name in scope else {}, scope.update, str)


def _of_dict(content: dict[Any, Any], naming: Callable[[Any], str], without: Collection[str] = ()) -> Place:
    """A dict, save for the values of some names, which are places of their own."""

    def read() -> dict[Any, Any]:
        return {name: value for name, value in content.items() if name not in without}

    def write(items: dict[Any, Any]) -> None:
        kept = {name: content[name] for name in without if name in content}
        content.clear()
        content.update(items | kept)

    return Place(read, write, naming)


def _of_sequence(content: Any, extend: Callable[[Iterable[Any]], None], path: str) -> Place:
    def write(items: dict[Any, Any]) -> None:
        content.clear()
        extend(items.values())

    return Place(lambda: dict(enumerate(content)), write, lambda _: path)


def _of_attribute(path: str, owner: Any, name: str) -> Place:
    def write(items: dict[str, Any]) -> None:
        for key, value in items.items():
            setattr(owner, key, value)

    return Place(lambda: {name: getattr(owner, name)} if hasattr(owner, name) else {}, write, lambda key: f"{path}.{key}")


def _of_state(path: str, get: Callable[[], Any], put: Callable[[Any], object]) -> Place:
    return Place(lambda: {"": get()}, lambda items: put(items[""]), lambda _: path, opaque=True)


def _inside(name: str, cell: types.CellType) -> dict[str, Any]:
    try:
        return {name: cell.cell_contents}
    except ValueError:  # nothing has been put into it yet
        return {}


def _into(name: str, cell: types.CellType, items: dict[str, Any]) -> None:
    if name in items:
        cell.cell_contents = items[name]
    else:
        del cell.cell_contents


def _names(code: types.CodeType) -> list[str]:
    """The globals and attributes that a function, and those defined in it, refer to."""
    inner = [name for constant in code.co_consts if isinstance(constant, types.CodeType) for name in _names(constant)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _looked_into(value: Any) -> bool:
    kind = type(value)
    if isinstance(value, Tensor | nn.Module):
        return True
    return _callers(kind.__module__) or f"{kind.__module__}.".startswith(STATEFUL)


@functools.cache
def _callers(module: str | None) -> bool:
    """Whether code of that module is the caller's own, and no library's; code that is made by decorators may name no module."""
    if not isinstance(module, str):
        return False
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names - {"__main__"} or root in ("torch", "numpy", "nets"):
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _is_callers_module(value: Any) -> bool:
    return isinstance(value, types.ModuleType) and _callers(value.__name__)


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType | staticmethod | classmethod)


def _is_data(name: str, value: Any) -> bool:
    """Whether it is an attribute of a class that calls may move, such as a counter."""
    return not name.startswith("__") and not callable(value) and not hasattr(type(value), "__get__")
