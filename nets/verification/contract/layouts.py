"""The gradient must not depend on how the gradient that comes in lies in memory.

A loss hands back gradients of many layouts: `y.sum()` one number expanded to the shape of y, `y.T @ w` a transposed one, a slice of
a concatenation a part of a larger tensor. Autograd passes them on as they are, so each backward must read them by their strides.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nets.records.certificate import Check
from nets.records.reason import Finding, Reason
from nets.text import listed
from nets.verification.contract.disagreement import disagreement, pulled_back
from nets.verification.contract.recorded import Walks, record
from nets.verification.problem.problem import Problem
from nets.verification.problem.strides import Memory, Repeated, repeated

Lay = Callable[[Tensor], Tensor | None]
"""Makes of a contiguous cotangent one that lies in memory in another way; None where its shape has no such layout."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A way in which a cotangent may lie in memory.

    Attributes:
        name: as in "the incoming gradient is …".
        lay: makes such a cotangent.
        repeats: whether it takes the same number for several entries, so that it is another cotangent than before.
    """

    name: str
    lay: Lay
    repeats: bool = False


def check_layouts(walks: Walks) -> list[Check]:
    """A failed check for the first layout of the incoming gradient with which another gradient comes out; none if there is none.

    Each layout is tried for all the outputs at once, against a contiguous cotangent with the same numbers.
    """
    seen = set[tuple[object, ...]]()
    for layout in LAYOUTS:
        laid = [_laid(layout, v) for v in walks.recorded.cotangents]
        places = tuple((v.stride(), v.storage_offset()) for v in laid)
        if places in seen or all(v.is_contiguous() and not v.storage_offset() for v in laid):
            continue
        seen.add(places)
        try:
            expected = walks.pull_back(_contiguous(layout)) if layout.repeats else walks.problem.gradient
        except Exception:  # it is no fault of the layout
            continue
        # PyTorch's own operations raise an error where they have no such layout, as view_as_real does.
        found = pulled_back(walks, _every(layout), expected, own_errors=False)
        if found is not None:
            where = f"where the incoming gradient is {layout.name} (strides {_strides(layout, walks.recorded.cotangents)})"
            return [found.check(where, "where it is contiguous")]
    return []


def check_expanded(problem: Problem, inputs: tuple[Any, ...]) -> list[Check]:
    """A failed check for the first input that is expanded, of which the gradient is another one where it is written out: each
    number must then have the sum of the gradients of its copies. None if there is none."""
    for name, memory in repeated(inputs).items():
        if name not in problem.points:
            continue
        expected = dict(problem.gradient)
        expected[name] = memory.summed(expected[name])
        with _laid_as(problem, name, memory):
            call = record(problem)
            gradients = call.pull_back(call.cotangents)
        found = disagreement(problem, gradients, expected)
        if found is not None:
            return [found.check(f"where {name} is expanded, as it is here", "where it is written out")]
    return []


def depends_on_layout(problem: Problem) -> Finding | None:
    """Why a gradient is wrong, where it is another one once a parameter or an input is contiguous; None where it is not."""
    for name, memory in problem.memory.items():
        try:
            with _laid_as(problem, name, None):
                call = record(problem)
                found = call.pull_back(call.cotangents)
            if disagreement(problem, found, problem.gradient):
                return Reason.OTHER_LAYOUT.because(name=name, strides=memory.strides)
        except Exception:  # a module may well expect that layout
            continue
    return None


@contextmanager
def _laid_as(problem: Problem, name: str, memory: Memory | Repeated | None) -> Iterator[None]:
    """Meanwhile the module is given this parameter or input as it lies in that memory; None for a contiguous tensor."""
    before = problem.memory
    try:
        problem.memory = {n: m for n, m in before.items() if n != name} | ({} if memory is None else {name: memory})
        yield
    finally:
        problem.memory = before


def _every(layout: Layout) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda cotangents: [_laid(layout, v) for v in cotangents]


def _strides(layout: Layout, cotangents: list[Tensor]) -> str:
    laid = [v for v in map(layout.lay, cotangents) if v is not None]
    return listed(list(dict.fromkeys(str(v.stride()) for v in laid)))


def _laid(layout: Layout, v: Tensor) -> Tensor:
    laid = layout.lay(v)
    return v if laid is None else laid


def _contiguous(layout: Layout) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda cotangents: [_laid(layout, v).clone(memory_format=torch.contiguous_format) for v in cotangents]


def _permuted(order: Callable[[int], list[int]], least: int) -> Lay:
    """The axes in that order in memory, for tensors with as many axes as `least` or more."""

    def lay(v: Tensor) -> Tensor | None:
        if v.ndim < least:
            return None
        axes = order(v.ndim)
        back = [axes.index(axis) for axis in range(v.ndim)]
        return v.permute(axes).contiguous().permute(back)

    return lay


def _sliced(v: Tensor) -> Tensor | None:
    room = tuple(size + 1 for size in v.shape)
    # A vector has no rows that could lie apart, so it is every second number of a longer one.
    return Memory(tuple(range(v.ndim)), room, 2 if v.ndim == 1 else 1, 1).lay(v) if v.ndim else None


def _offset(v: Tensor) -> Tensor:
    return Memory(tuple(range(v.ndim)), tuple(v.shape), 1, 3).lay(v)


def _expanded(axes: Callable[[int], list[int]], least: int) -> Lay:
    """The numbers at the beginning of those axes, repeated along them."""

    def lay(v: Tensor) -> Tensor | None:
        if v.ndim < least or v.numel() < 2:
            return None
        first = v
        for axis in axes(v.ndim):
            first = first.narrow(axis, 0, 1)
        return first.clone().expand(v.shape)

    return lay


def _channels_last(axes: int) -> Lay:
    return lambda v: v.movedim(1, -1).contiguous().movedim(-1, 1) if v.ndim == axes else None


def _layouts() -> Iterator[Layout]:
    yield Layout("transposed", _permuted(lambda n: list(range(n))[::-1], 2))
    yield Layout("expanded from one number", _expanded(lambda n: list(range(n)), 1), repeats=True)
    yield Layout("a slice of a larger tensor", _sliced)
    yield Layout("channels_last", _channels_last(4))
    yield Layout("channels_last_3d", _channels_last(5))
    yield Layout("one with its first two axes transposed", _permuted(lambda n: [1, 0, *range(2, n)], 3))
    yield Layout("one with its last two axes transposed", _permuted(lambda n: [*range(n - 2), n - 1, n - 2], 3))
    yield Layout("expanded along its first axis", _expanded(lambda n: [0], 2), repeats=True)
    yield Layout("expanded along its last axis", _expanded(lambda n: [n - 1], 2), repeats=True)
    yield Layout("contiguous at an offset in its storage", _offset)


LAYOUTS = tuple(_layouts())
