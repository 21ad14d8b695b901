"""The gradient must not depend on the memory layout of the incoming gradient.

A loss returns gradients of many layouts: `y.sum()` one number expanded to the shape of y, `y.T @ w` a transposed
gradient, a slice of a concatenation a part of a larger tensor. Autograd passes them on as they are, so each backward
must respect their strides.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.reason import Finding, Reason
from nets.text import listed
from nets.verification.attempt import attempt
from nets.verification.contract.disagreement import disagreement, find_disagreement
from nets.verification.contract.recorded import BackwardPasses, CotangentChoice, record
from nets.verification.problem.problem import Problem
from nets.verification.problem.strides import Strided, expanded_inputs

Lay = Callable[[Tensor], Tensor | None]
"""Copies a contiguous cotangent into another layout; None where its shape has no such layout."""


@dataclass(frozen=True, slots=True)
class CotangentLayout:
    """A layout of a cotangent in memory.

    Attributes:
        name: completes "the incoming gradient is …".
        lay: copies a cotangent into this layout.
        repeats: whether it repeats one number for several entries, which makes it another cotangent.
        lazy: whether its numbers are conjugated or negated only when they are read. A backward may refuse such a tensor
            with an error, as `Tensor.numpy` does, and must not read other numbers.
    """

    name: str
    lay: Lay
    repeats: bool = False
    lazy: bool = False

    def laid(self, v: Tensor) -> Tensor:
        """The cotangent in this layout; itself where its shape has no such layout."""
        laid = self.lay(v)
        return v if laid is None else laid

    def choose(self, cotangents: list[Tensor]) -> list[Tensor]:
        """All cotangents in this layout."""
        return [self.laid(v) for v in cotangents]

    def choose_contiguous(self, cotangents: list[Tensor]) -> list[Tensor]:
        """The same numbers in contiguous cotangents."""
        return [self.laid(v).clone(memory_format=torch.contiguous_format) for v in cotangents]

    def strides(self, cotangents: list[Tensor]) -> str:
        """The strides of these cotangents in this layout, in words."""
        laid = [v for v in map(self.lay, cotangents) if v is not None]
        return listed(list(dict.fromkeys(str(v.stride()) for v in laid)))


def check_layouts(passes: BackwardPasses) -> list[Check]:
    """A failed check for the first layout of the incoming gradient that changes the gradient; none if there is none.

    Each layout is tried for all outputs at once, and compared with contiguous cotangents of the same numbers.
    """
    seen = set[tuple[object, ...]]()
    for layout in LAYOUTS:
        laid = layout.choose(passes.call.cotangents)
        memory = tuple((v.stride(), v.storage_offset(), v.is_conj(), v.is_neg()) for v in laid)
        if memory in seen or all(map(_is_plain, laid)):
            continue
        seen.add(memory)
        found = _check_layout(passes, layout)
        if found is not None:
            return [found]
    return []


def _check_layout(passes: BackwardPasses, layout: CotangentLayout) -> Check | None:
    usual = passes.problem.gradient
    expected = attempt(lambda: passes.pull_back(layout.choose_contiguous)).or_none() if layout.repeats else usual
    if expected is None:  # the backward raises for contiguous cotangents, too
        return None
    # An operation of PyTorch may raise for a layout that it does not support, as view_as_real does.
    choose: CotangentChoice = layout.choose
    found = find_disagreement(passes, choose, expected, own_errors=False)
    if found is None or (layout.lazy and found.raised):
        return None
    strides = layout.strides(passes.call.cotangents)
    return found.check(Reason.INCOMING_LAYOUT, layout=layout.name, strides=strides)


def check_expanded(problem: Problem, inputs: tuple[Any, ...]) -> list[Check]:
    """A failed check for the first expanded input whose gradient changes where it is expanded; none if there is none.

    The first of the numbers that share a place in memory must have the sum of the gradients that all of them have
    otherwise.
    """
    for name, layout in expanded_inputs(inputs).items():
        if name not in problem.points:
            continue
        expected = dict(problem.gradient)
        expected[name] = layout.summed(expected[name])
        with problem.laid_out(name, layout):
            gradients = _gradient(problem)
        found = disagreement(problem, gradients, expected)
        if found is not None:
            return [found.check(Reason.EXPANDED_INPUT, name=name)]
    return []


def depends_on_layout(problem: Problem) -> Finding | None:
    """Why a gradient is wrong, where it changes once a parameter or an input is contiguous; None where it does not."""
    for name, layout in problem.layouts.items():
        with problem.laid_out(name, None):
            found = attempt(lambda: _gradient(problem)).or_none()  # None where the module relies on that layout
        if found is not None and disagreement(problem, found, problem.gradient):
            return Reason.OTHER_LAYOUT.because(name=name, strides=layout.strides)
    return None


def _gradient(problem: Problem) -> dict[str, Tensor]:
    """The gradient of vᵀY by a new call."""
    call = record(problem)
    return call.pull_back(call.cotangents)


def _permuted(order: Callable[[int], list[int]], least: int) -> Lay:
    """The axes in that order in memory, for tensors with at least `least` axes."""

    def lay(v: Tensor) -> Tensor | None:
        if v.ndim < least:
            return None
        axes = order(v.ndim)
        back = [axes.index(axis) for axis in range(v.ndim)]
        return v.permute(axes).contiguous().permute(back)

    return lay


def _sliced(v: Tensor) -> Tensor | None:
    room = tuple(size + 1 for size in v.shape)
    # A vector has no rows that could have gaps between them, so it becomes every second number of a longer vector.
    return Strided(tuple(range(v.ndim)), room, 2 if v.ndim == 1 else 1, 1).lay(v) if v.ndim else None


def _offset(v: Tensor) -> Tensor:
    return Strided(tuple(range(v.ndim)), tuple(v.shape), 1, 3).lay(v)


def _expanded(axes: Callable[[int], list[int]], least: int) -> Lay:
    """The first numbers along those axes, repeated along them, for tensors with at least `least` axes."""

    def lay(v: Tensor) -> Tensor | None:
        if v.ndim < least or v.numel() < 2:
            return None
        first = v
        for axis in axes(v.ndim):
            first = first.narrow(axis, 0, 1)
        return first.clone().expand(v.shape)

    return lay


def _lazily_conjugated(v: Tensor) -> Tensor | None:
    """The conjugate of the conjugate, as `torch.conj` leaves it in a graph: the second one is not computed."""
    return v.conj().resolve_conj().conj() if v.is_complex() else None


def _lazily_negated(v: Tensor) -> Tensor | None:
    """The imaginary part of a conjugate: a view that negates the numbers in memory when they are read."""
    if v.dtype not in (torch.float32, torch.float64):  # other real numbers have no complex form
        return None
    return torch.complex(torch.zeros_like(v), -v).conj().imag


def _is_plain(v: Tensor) -> bool:
    return v.is_contiguous() and not (v.storage_offset() or v.is_conj() or v.is_neg())


def _channels_last(axes: int) -> Lay:
    return lambda v: v.movedim(1, -1).contiguous().movedim(-1, 1) if v.ndim == axes else None


def _layouts() -> Iterator[CotangentLayout]:
    yield CotangentLayout("transposed", _permuted(lambda n: list(range(n))[::-1], 2))
    yield CotangentLayout("expanded from one number", _expanded(lambda n: list(range(n)), 1), repeats=True)
    yield CotangentLayout("a slice of a larger tensor", _sliced)
    yield CotangentLayout("channels_last", _channels_last(4))
    yield CotangentLayout("channels_last_3d", _channels_last(5))
    yield CotangentLayout("one with its first two axes transposed", _permuted(lambda n: [1, 0, *range(2, n)], 3))
    yield CotangentLayout(
        "one with its last two axes transposed", _permuted(lambda n: [*range(n - 2), n - 1, n - 2], 3)
    )
    yield CotangentLayout("expanded along its first axis", _expanded(lambda n: [0], 2), repeats=True)
    yield CotangentLayout("expanded along its last axis", _expanded(lambda n: [n - 1], 2), repeats=True)
    yield CotangentLayout("contiguous at an offset in its storage", _offset)
    yield CotangentLayout("lazily conjugated", _lazily_conjugated, lazy=True)
    yield CotangentLayout("lazily negated", _lazily_negated, lazy=True)


LAYOUTS = tuple(_layouts())
