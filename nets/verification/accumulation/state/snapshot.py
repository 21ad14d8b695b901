"""Everything that calls of a module, a loss and a loop can change: found, put back after each call, and named.

It finds the attributes of modules, optimizers and the caller's own objects and classes; the cells, defaults and globals
that the caller's functions use; the hooks of modules and tensors; random generators; and whatever lists, dicts and the
like hold of these. State elsewhere, such as in a file or in C++, is not found. It shows when two calls from the same
snapshot differ.
"""

import collections
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nets.torch_internals import accumulation_hook_table
from nets.verification.accumulation.state.containers import Container, components, containers
from nets.verification.accumulation.state.random_draws import Generator
from nets.verification.problem.copies import cast
from nets.verification.problem.pytree import same_numbers

IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, range, slice)
"""Types that contain nothing that could change."""


@dataclass(slots=True)
class _SavedTensor:
    """A tensor that was found.

    Attributes:
        root: the root that it was found from.
        path: its name.
        tensor: the tensor.
        original: its data before the snapshot.
        gradient: its `.grad` before the snapshot.
        required: whether it required a gradient.
        start: its numbers in double precision at the start of each call.
    """

    root: str
    path: str
    tensor: Tensor
    original: Tensor
    gradient: Tensor | None
    required: bool
    start: Tensor


class StateSnapshot:
    """A context in which everything reachable from some roots is on the CPU, in double precision and without gradients.

    `restore` puts it back to the state at the start. After the context everything is as it was before, including the
    identity of each tensor.

    Args:
        roots: name → module or function.
    """

    def __init__(self, **roots: Any) -> None:
        self._containers = list[tuple[str, Container, dict[Any, Any]]]()
        self._tensors = list[_SavedTensor]()
        self._seen = dict[int, Any]()
        waiting = collections.deque((name, name, value) for name, value in roots.items())
        while waiting:
            root, path, value = waiting.popleft()
            if isinstance(value, IMMUTABLE) or id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            if isinstance(value, Tensor):
                self._add_tensor(root, path, value)
            for container in containers(value, path):
                content = container.read()
                self._containers.append((root, container, content))
                if not container.opaque:
                    waiting.extend((root, container.path_of(name), inner) for name, inner in content.items())
            waiting.extend((root, inner_path, inner) for inner_path, inner in components(value, path))

    def __enter__(self) -> "StateSnapshot":
        for saved in self._tensors:
            saved.tensor.data, saved.tensor.grad = saved.start.clone(), None
        return self

    def __exit__(self, *_: object) -> None:
        self._write_containers("")
        for saved in self._tensors:
            saved.tensor.data, saved.tensor.grad = saved.original, saved.gradient

    @property
    def generators(self) -> list[Generator]:
        """The random generators found, which do not include the global ones."""
        return [value for value in self._seen.values() if isinstance(value, Generator)]

    @contextlib.contextmanager
    def in_original_precision(self) -> Iterator[None]:
        """Within this context each tensor has its original precision and a copy of its original numbers."""
        self._write_containers("")
        for saved in self._tensors:
            saved.tensor.data, saved.tensor.grad = saved.original.clone(), None
        try:
            yield
        finally:
            self._write_containers("")
            self.__enter__()

    @contextlib.contextmanager
    def without_accumulation_hooks(self) -> Iterator[None]:
        """Within this context no post-accumulate-grad hook runs."""
        hooks = [accumulation_hook_table(saved.tensor) for saved in self._tensors if saved.tensor.is_leaf]
        before = [(own, dict(own)) for own in hooks if own]
        for own, _ in before:
            own.clear()
        try:
            yield
        finally:
            for own, content in before:
                own.update(content)

    def clear_gradients(self) -> None:
        """Set every `.grad` to None."""
        for saved in self._tensors:
            saved.tensor.grad = None

    def restore(self, except_for: str = "") -> None:
        """Put everything back to the start, except for the value with this path."""
        self._write_containers(except_for)
        self.clear_gradients()
        for saved in self._tensors:
            if saved.path == except_for:
                continue
            now = saved.tensor.data
            if (now.shape, now.dtype, now.device) == (saved.start.shape, saved.start.dtype, saved.start.device):
                now.copy_(saved.start)
            else:
                saved.tensor.data = saved.start.clone()

    def changed(self, root: str = "") -> list[str]:
        """The paths of values that differ from the start, other than gradients; only those found from `root`, if one is
        given."""
        found = [(s.root, s.path) for s in self._tensors if not equal(s.tensor.data, s.start)]
        for own_root, container, content in self._containers:
            now = container.read()
            names = [*content, *(name for name in now if name not in content)]
            different = [name for name in names if not equal(now.get(name), content.get(name))]
            found += [(own_root, container.path_of(name)) for name in different]
        return list(dict.fromkeys(path for own_root, path in found if root in ("", own_root)))

    def _write_containers(self, except_for: str) -> None:
        for _, container, content in self._containers:
            now = container.read()
            wanted = {name: value for name, value in content.items() if container.path_of(name) != except_for}
            wanted |= {name: value for name, value in now.items() if container.path_of(name) == except_for}
            if len(now) != len(wanted) or any(
                name not in now or now[name] is not value for name, value in wanted.items()
            ):
                container.write(wanted)
        for saved in self._tensors:
            if saved.tensor.is_leaf and saved.tensor.requires_grad != saved.required:
                saved.tensor.requires_grad_(saved.required)

    def _add_tensor(self, root: str, path: str, tensor: Tensor) -> None:
        if tensor.layout != torch.strided or tensor.is_meta or type(tensor) not in (Tensor, nn.Parameter, nn.Buffer):
            return
        start = cast(tensor.detach().cpu(), torch.float64).clone()
        gradient = tensor.grad if tensor.is_leaf else None
        self._tensors.append(_SavedTensor(root, path, tensor, tensor.data, gradient, tensor.requires_grad, start))


def equal(one: Any, other: Any) -> bool:
    """Whether two tensors or arrays have the same numbers, NaN included, or two objects are equal in Python."""
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if (one.shape, one.dtype, one.device, one.layout) != (other.shape, other.dtype, other.device, other.layout):
            return False
        return same_numbers(one, other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    try:
        return bool(one == other)
    except Exception:  # comparing an object of the caller's may raise anything
        return False
