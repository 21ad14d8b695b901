"""Whether the code of layers and loss is a function of tensors and constants alone, so that it may be recorded.

A recording repeats operations of PyTorch with the tensors and the numbers that it has seen. It does not see a list that
grows, the attribute of an object, a counter or a file. The code itself shows whether it reads any of these: all names
that a function takes from outside are in its bytecode. What is not known to be constant counts as variable, so that in
doubt the layer is called at each step.

Not read is the code of nets and of PyTorch, which computes with its arguments alone.
"""

import dis
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

TRUSTED = {"nets", "torch", "math", "typing"}
"""Packages whose modules, classes and functions keep nothing that changes from step to step."""

PLAIN = {
    int, float, complex, bool, str, bytes, range, type(None), type(...), torch.dtype, torch.device, torch.Size,
    torch.layout, torch.memory_format,
}  # fmt: skip
"""Types of values that cannot change."""

BUILTINS = {
    "abs", "all", "any", "bool", "dict", "divmod", "enumerate", "float", "int", "isinstance", "len", "list", "map",
    "max", "min", "pow", "range", "reversed", "round", "set", "slice", "sorted", "str", "sum", "super", "tuple", "type",
    "zip", "ValueError", "TypeError", "RuntimeError", "NotImplementedError",
}  # fmt: skip
"""Functions of Python that depend on their arguments alone and change nothing. `getattr` and `print` are not."""

WRITES = {"STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL", "IMPORT_NAME", "LOAD_BUILD_CLASS"}
"""Instructions that change something outside of a function, or bring something in that is not followed here."""

LEAVING = {"numpy", "tolist", "grad", "data_ptr", "storage", "untyped_storage", "__dict__", "__array__"}
"""Attributes by which numbers leave the tensors unseen, or anything can be reached."""

ENTRY = {"__call__", "__getattr__", "__getattribute__"}
"""Methods that Python calls by itself."""

RUN_BEFORE = {"__init__", "__new__", "__init_subclass__", "__doc__", "__module__"}
"""Members of a class that have no effect once the module is made."""


BARE = vars(nn.Module()).keys() - {"training"}
"""The attributes that every module has, by PyTorch's own account; a recording does not depend on them."""


class Purity:
    """What the code of some modules depends on beyond their tensors.

    Attributes:
        pure: whether these are constants alone.
        constants: of each constant outside of the modules a function that reads it, and its value.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.pure = True
        self.constants: list[tuple[Callable[[], Any], Any]] = []
        bases = dict.fromkeys(base for module in modules for base in type(module).__mro__)
        self._classes = [base for base in bases if base.__module__ not in ("abc", "builtins", "typing")]
        self._seen: set[int] = set()
        self._names: set[str] = set()
        for cls in self._classes:
            if not _trusted(cls.__module__):
                self._watch(partial(len, vars(cls)))
        own = [cls for cls in self._classes if cls.__module__.startswith("nets.")]
        self._follow(ENTRY.union(name for cls in own for name, member in vars(cls).items() if callable(member)))
        for module in modules:
            for name in vars(module).keys() - BARE:
                self._value(vars(module)[name])

    def _watch(self, read: Callable[[], Any]) -> None:
        self.constants.append((read, read()))

    def _follow(self, names: Iterable[str]) -> None:
        """Read what the classes have under these names."""
        for name in set(names) - self._names - RUN_BEFORE:
            self._names.add(name)
            for cls in self._classes:
                member = vars(cls).get(name)
                if member is not None and not (_trusted(cls.__module__) and _known(member)):
                    self._watch(partial(vars(cls).get, name))
                    self._member(member)

    def _member(self, member: object) -> None:
        if isinstance(member, staticmethod | classmethod):
            self._value(member.__func__)
        elif isinstance(member, property):
            self._value(member.fget)
        else:
            self._value(member)

    def _value(self, value: Any) -> None:
        """Read a value that the code uses."""
        kind = type(value)
        if kind is tuple or kind is frozenset:
            for entry in value:
                self._value(entry)
        elif kind is FunctionType:
            self._function(value)
        elif kind is ModuleType or isinstance(value, type) or kind is BuiltinFunctionType:
            owner = str(value.__name__ if kind is ModuleType else value.__module__)
            known = owner == "builtins" and value.__name__ in BUILTINS
            self.pure &= known or _trusted(owner) or value in self._classes
        else:
            self.pure &= kind in PLAIN or kind in (Tensor, nn.Parameter, nn.Buffer)

    def _function(self, function: FunctionType) -> None:
        """Read the code of a function, and all that it takes from outside."""
        function = _plain(function)
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        for cell in function.__closure__ or ():
            self._watch(partial(_contents, cell))
            self._value(self.constants[-1][1])
        if _trusted(_written_in(function)):
            return
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._value(value)
        for code in _codes(function.__code__):
            self.pure &= LEAVING.isdisjoint(code.co_names)
            for instruction in dis.get_instructions(code):
                kind, name = instruction.opname, instruction.argval
                outside = kind == "STORE_DEREF" and name in function.__code__.co_freevars
                self.pure &= kind not in WRITES and not outside
                if kind == "LOAD_GLOBAL":
                    self._global(function, name)
            self._follow(code.co_names)

    def _global(self, function: FunctionType, name: str) -> None:
        self._watch(partial(function.__globals__.get, name))
        if name in function.__globals__:
            self._value(function.__globals__[name])
        else:
            self.pure &= name in BUILTINS


def _trusted(module: str) -> bool:
    return module.partition(".")[0] in TRUSTED


def _plain(member: Any) -> Any:
    """A function without the checks of jaxtyping, which raise an error or change nothing."""
    while isinstance(member, FunctionType) and _written_in(member).startswith("jaxtyping."):
        member = member.__wrapped__  # type: ignore[attr-defined]
    return member


def _written_in(function: FunctionType) -> str:
    """The module in which a function is written. A decorator may write to its `__module__`."""
    return str(function.__globals__.get("__name__", ""))


def _known(member: object) -> bool:
    """Whether a member of a class of nets or PyTorch is their own: a user may have assigned another function."""
    member = _plain(member)
    return not isinstance(member, FunctionType) or _trusted(_written_in(member))


def _contents(cell: CellType) -> Any:
    """The value of a variable of an enclosing function; None where it has none yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
