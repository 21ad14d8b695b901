"""The containers of an object: where it keeps values that calls can change, and how these are read, written and
named."""

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

from nets.torch_internals import MODULE_TABLES, hook_tables

STATEFUL = ("torch.nn.", "torch.optim.", "torch.amp.", "torch.cuda.amp.")
"""Modules of libraries whose objects have containers. Other objects, such as writers and loaders, own threads and
files."""


@dataclass(frozen=True, slots=True)
class Container:
    """Something that holds named values, which calls can replace.

    Attributes:
        read: gives name → value.
        write: replaces all values by those of such a dict.
        path_of: gives the path of the value with a name.
        opaque: whether `read` gives copies of the state, which contain nothing that could change.
    """

    read: Callable[[], dict[Any, Any]]
    write: Callable[[dict[Any, Any]], object]
    path_of: Callable[[Any], str]
    opaque: bool = False


# The containers of an object, by its type.


@functools.singledispatch
def containers(value: Any, path: str) -> Iterator[Container]:
    """The containers of an object that is found under this path: its attributes, hooks and slots."""
    own = None
    with contextlib.suppress(Exception):  # asking an object of the caller's for its attributes may raise anything
        own = vars(value)
    if isinstance(own, dict) and _has_state(value):
        named = MODULE_TABLES if isinstance(value, nn.Module) else ()
        yield _of_dict(own, lambda name: f"{path}.{name}", without=named)
        yield from (_of_dict(own[name], lambda key: f"{path}.{key}") for name in named if name in own)
    if isinstance(value, Tensor):
        for hooks in hook_tables(value):
            yield _of_dict(hooks, lambda name: f"hook {name} of {path}")
    for kind in type(value).__mro__ if _is_callers(type(value).__module__) else ():
        slots = [name for name, inner in vars(kind).items() if isinstance(inner, types.MemberDescriptorType)]
        yield from (_of_attribute(path, value, name) for name in slots)


@containers.register
def _(value: dict, path: str) -> Iterator[Container]:  # type: ignore[type-arg]
    yield _of_dict(value, lambda name: f"{path}[{name!r}]")


@containers.register(list)
@containers.register(collections.deque)
def _(value: Any, path: str) -> Iterator[Container]:
    yield _of_sequence(value, value.extend, path)


@containers.register
def _(value: set, path: str) -> Iterator[Container]:  # type: ignore[type-arg]
    yield _of_sequence(value, value.update, path)


@containers.register
def _(value: types.FunctionType, path: str) -> Iterator[Container]:
    yield _of_dict(value.__dict__, lambda name: f"{path}.{name}")
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        read, write = functools.partial(_read_cell, name, cell), functools.partial(_write_cell, name, cell)
        yield Container(read, write, str)
    # Only for functions of the caller's: those of a library refer to all of it.
    if _is_callers(value.__module__):
        names = _names(value.__code__)
        modules = [vars(m) for m in map(value.__globals__.get, names) if _is_callers_module(m)]
        scopes = [value.__globals__, *modules]
        yield from (_of_key(scope, name) for scope in scopes for name in names if name in scope)


@containers.register
def _(value: type, path: str) -> Iterator[Container]:
    if _is_callers(value.__module__):
        yield from (_of_attribute(path, value, name) for name, inner in vars(value).items() if _is_data(name, inner))


@containers.register
def _(value: np.ndarray, path: str) -> Iterator[Container]:
    yield _of_state(path, value.copy, lambda numbers: np.copyto(value, numbers))


@containers.register
def _(value: torch.Generator, path: str) -> Iterator[Container]:
    yield _of_state(path, value.get_state, value.set_state)


@containers.register
def _(value: random.Random, path: str) -> Iterator[Container]:
    yield _of_state(path, value.getstate, value.setstate)


@containers.register
def _(value: np.random.Generator, path: str) -> Iterator[Container]:
    bits: Any = value.bit_generator
    yield _of_state(path, lambda: bits.state, lambda state: setattr(bits, "state", state))


# The components of an object, by its type.


@functools.singledispatch
def components(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Path and value of each component of an object that cannot be replaced, such as the items of a tuple or its
    class."""
    if _has_state(value):
        yield type(value).__name__, type(value)


@components.register(tuple)
@components.register(frozenset)
def _(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield from ((f"{path}[{i}]", inner) for i, inner in enumerate(value))


@components.register
def _(value: functools.partial, path: str) -> Iterator[tuple[str, Any]]:  # type: ignore[type-arg]
    yield from ((path, inner) for inner in (value.func, value.args, value.keywords))


@components.register
def _(value: types.MethodType, path: str) -> Iterator[tuple[str, Any]]:
    yield from ((path, inner) for inner in (value.__self__, value.__func__))


@components.register
def _(value: types.BuiltinMethodType, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value.__self__, types.ModuleType):
        yield path, value.__self__


@components.register
def _(value: types.FunctionType, path: str) -> Iterator[tuple[str, Any]]:
    yield from ((path, inner) for inner in (value.__defaults__, value.__kwdefaults__))


@components.register
def _(value: type, path: str) -> Iterator[tuple[str, Any]]:
    if _is_callers(value.__module__):
        functions = [inner for inner in vars(value).values() if _is_function(inner)]
        yield from ((path, getattr(inner, "__func__", inner)) for inner in functions)
        yield from ((path, kind) for kind in value.__bases__)


# Kinds of containers.


def _of_dict(content: dict[Any, Any], path_of: Callable[[Any], str], without: Collection[str] = ()) -> Container:
    """A dict, without the values of some names, which are containers themselves."""

    def read() -> dict[Any, Any]:
        return {name: value for name, value in content.items() if name not in without}

    def write(items: dict[Any, Any]) -> None:
        kept = {name: content[name] for name in without if name in content}
        content.clear()
        content.update(items | kept)

    return Container(read, write, path_of)


def _of_key(scope: dict[str, Any], name: str) -> Container:
    return Container(lambda: {name: scope[name]} if name in scope else {}, scope.update, str)


def _of_sequence(content: Any, extend: Callable[[Iterable[Any]], None], path: str) -> Container:
    def write(items: dict[Any, Any]) -> None:
        content.clear()
        extend(items.values())

    return Container(lambda: dict(enumerate(content)), write, lambda _: path)


def _of_attribute(path: str, owner: Any, name: str) -> Container:
    def read() -> dict[str, Any]:
        return {name: getattr(owner, name)} if hasattr(owner, name) else {}

    def write(items: dict[str, Any]) -> None:
        for key, value in items.items():
            setattr(owner, key, value)

    return Container(read, write, lambda key: f"{path}.{key}")


def _of_state(path: str, get: Callable[[], Any], put: Callable[[Any], object]) -> Container:
    return Container(lambda: {"": get()}, lambda items: put(items[""]), lambda _: path, opaque=True)


def _read_cell(name: str, cell: types.CellType) -> dict[str, Any]:
    try:
        return {name: cell.cell_contents}
    except ValueError:  # the cell is empty
        return {}


def _write_cell(name: str, cell: types.CellType, items: dict[str, Any]) -> None:
    if name in items:
        cell.cell_contents = items[name]
    else:
        del cell.cell_contents


# Whose code it is.


def _names(code: types.CodeType) -> list[str]:
    """The names of globals and attributes in the code of a function and of the functions defined in it."""
    inner = [name for constant in code.co_consts if isinstance(constant, types.CodeType) for name in _names(constant)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _has_state(value: Any) -> bool:
    """Whether the attributes of an object are state: those of tensors, modules, optimizers and the caller's objects."""
    if isinstance(value, types.ModuleType):
        return False
    if isinstance(value, Tensor | nn.Module):
        return True
    kind = type(value).__module__
    return _is_callers(kind) or f"{kind}.".startswith(STATEFUL)


@functools.cache
def _is_callers(module: str | None) -> bool:
    """Whether a Python module belongs to the caller, not to a library. The code that decorators make may name no
    module."""
    if not isinstance(module, str):
        return False
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names - {"__main__"} or root in ("torch", "numpy", "nets"):
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _is_callers_module(value: Any) -> bool:
    return isinstance(value, types.ModuleType) and _is_callers(value.__name__)


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType | staticmethod | classmethod)


def _is_data(name: str, value: Any) -> bool:
    """Whether an attribute of a class is data that calls may change, such as a counter."""
    return not name.startswith("__") and not callable(value) and not hasattr(type(value), "__get__")
