"""Everything that calls of a module, a loss and a loop can change: found, put back after each call, and named.

What is found: the attributes of modules, optimizers and the caller's own objects and classes; the cells, defaults and globals that
the caller's functions use; the hooks of modules and tensors; random generators; and what lists, dicts and the like hold of these.
State elsewhere, such as in a file or in C++, is not found: calls that give something else each time are the sign of it.
"""

import collections
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nets.verification.accumulation.draws import Generator
from nets.verification.accumulation.places import Place, parts, places
from nets.verification.problem.copies import cast

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, range, slice)
"""What has nothing inside that could be changed."""


@dataclass(slots=True)
class _Number:
    """A tensor in its place: what it had before, and the numbers in double precision that it starts each call with."""

    path: str
    tensor: Tensor
    original: Tensor
    gradient: Tensor | None
    required: bool
    start: Tensor


class Reached:
    """What some roots can reach. Inside the context all of it is on the CPU in double precision, without gradients; afterwards it
    is as it was before, the very tensors included.

    Args:
        roots: name → module or function.
    """

    def __init__(self, **roots: Any) -> None:
        self._places = list[tuple[Place, dict[Any, Any]]]()
        self._numbers = list[_Number]()
        self._seen = dict[int, Any]()
        waiting = collections.deque(roots.items())
        while waiting:
            path, value = waiting.popleft()
            if isinstance(value, PLAIN) or id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            if isinstance(value, Tensor):
                self._add_tensor(path, value)
            for place in places(path, value):
                content = place.read()
                self._places.append((place, content))
                waiting.extend((place.naming(name), inner) for name, inner in content.items() if not place.opaque)
            waiting.extend(parts(path, value))

    def __enter__(self) -> "Reached":
        for number in self._numbers:
            number.tensor.data, number.tensor.grad = number.start.clone(), None
        return self

    def __exit__(self, *_: object) -> None:
        self._put_back("")
        for number in self._numbers:
            number.tensor.data, number.tensor.grad = number.original, number.gradient

    @property
    def generators(self) -> list[Generator]:
        """The generators that are none of the global ones."""
        return [value for value in self._seen.values() if isinstance(value, Generator)]

    @contextlib.contextmanager
    def as_given(self) -> Iterator[None]:
        """Within this context each tensor is a copy of what it was, in the precision that it had."""
        self._put_back("")
        for number in self._numbers:
            number.tensor.data, number.tensor.grad = number.original.clone(), None
        try:
            yield
        finally:
            self._put_back("")
            self.__enter__()

    @contextlib.contextmanager
    def silenced(self) -> Iterator[None]:
        """Within this context no post-accumulate-grad hook runs."""
        hooks = [number.tensor._post_accumulate_grad_hooks for number in self._numbers if number.tensor.is_leaf]
        before = [(own, dict(own)) for own in hooks if own]
        for own, _ in before:
            own.clear()
        try:
            yield
        finally:
            for own, content in before:
                own.update(content)

    def clear_gradients(self) -> None:
        for number in self._numbers:
            number.tensor.grad = None

    def restore(self, but: str = "") -> None:
        """All of it as at the start, save for what has the path `but`."""
        self._put_back(but)
        self.clear_gradients()
        for number in self._numbers:
            if number.path == but:
                continue
            now = number.tensor.data
            if (now.shape, now.dtype, now.device) == (number.start.shape, number.start.dtype, number.start.device):
                now.copy_(number.start)
            else:
                number.tensor.data = number.start.clone()

    def moved(self) -> list[str]:
        """The paths of what is no longer as at the start; gradients do not count."""
        changed = [number.path for number in self._numbers if not equal(number.tensor.data, number.start)]
        for place, content in self._places:
            now = place.read()
            names = [*content, *(name for name in now if name not in content)]
            changed += [place.naming(name) for name in names if not equal(now.get(name), content.get(name))]
        return list(dict.fromkeys(changed))

    def _put_back(self, but: str) -> None:
        for place, content in self._places:
            now = place.read()
            wanted = {name: value for name, value in content.items() if place.naming(name) != but}
            wanted |= {name: value for name, value in now.items() if place.naming(name) == but}
            if len(now) != len(wanted) or any(name not in now or now[name] is not value for name, value in wanted.items()):
                place.write(wanted)
        for number in self._numbers:
            if number.tensor.is_leaf and number.tensor.requires_grad != number.required:
                number.tensor.requires_grad_(number.required)

    def _add_tensor(self, path: str, tensor: Tensor) -> None:
        if tensor.layout != torch.strided or tensor.is_meta or type(tensor) not in (Tensor, nn.Parameter, nn.Buffer):
            return
        start = cast(tensor.detach().cpu(), torch.float64).clone()
        gradient = tensor.grad if tensor.is_leaf else None
        self._numbers.append(_Number(path, tensor, tensor.data, gradient, tensor.requires_grad, start))


def equal(one: Any, other: Any) -> bool:
    """Whether they have the same numbers, or are equal as Python has it."""
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if (one.shape, one.dtype, one.device, one.layout) != (other.shape, other.dtype, other.device, other.layout):
            return False
        return bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    try:
        return bool(one == other)
    except Exception:  # whatever an object of the caller's does when it is compared
        return False
