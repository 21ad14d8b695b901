"""The memory layout of a tensor, and copies with the same layout. A kernel may be right for one layout and wrong for
another."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from nets.torch_internals import pytree
from nets.verification.problem.pytree import input_names


class Layout(Protocol):
    """Where the numbers of a tensor are in memory."""

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each axis."""

    def lay(self, values: Tensor) -> Tensor:
        """A tensor with these values and this layout."""


@dataclass(frozen=True, slots=True)
class Strided:
    """The layout of a tensor that is not contiguous.

    Attributes:
        axes: the axes of the tensor, the one with the largest stride first.
        room: the size of each of these axes in the larger tensor of which this one is a slice.
        step: the stride of the innermost axis.
        offset: the place of the first number in its storage.
    """

    axes: tuple[int, ...]
    room: tuple[int, ...]
    step: int
    offset: int

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each axis."""
        found, stride = dict[int, int](), self.step
        for axis, room in zip(reversed(self.axes), reversed(self.room), strict=True):
            found[axis] = stride
            stride *= room
        return tuple(found[axis] for axis in sorted(found))

    def lay(self, values: Tensor) -> Tensor:
        """A copy of a contiguous tensor with this layout. It can be differentiated, in forward mode and under vmap
        too."""
        ordered = values.permute(self.axes)
        padding = [0, self.step - 1]
        for size, room in zip(reversed(ordered.shape), reversed(self.room), strict=True):
            padding += [0, room - size]
        # The padding is the part of the larger tensor that is not in the slice.
        flat = F.pad(ordered.unsqueeze(-1), padding).reshape(-1)
        inner = F.pad(flat, (self.offset, 0))[self.offset :].view(*self.room, self.step).select(-1, 0)
        for axis, size in enumerate(ordered.shape):
            inner = inner.narrow(axis, 0, size)
        return inner.permute([self.axes.index(axis) for axis in range(values.ndim)])


@dataclass(frozen=True, slots=True)
class Expanded:
    """The layout of a tensor that is expanded along some axes: the entries along these axes share memory."""

    axes: tuple[int, ...]
    strides: tuple[int, ...]

    def lay(self, values: Tensor) -> Tensor:
        """The values at index 0 of these axes, expanded along them."""
        first = values
        for axis in self.axes:
            first = first.narrow(axis, 0, 1)
        return first.contiguous().expand(values.shape)

    def summed(self, gradient: Tensor) -> Tensor:
        """The gradient by the values given to `lay`, from the gradient by the expanded tensor: the sum over these axes
        at their index 0, and zero at every other index."""
        room = [gradient.shape[axis] - 1 if axis in self.axes else 0 for axis in range(gradient.ndim)]
        return F.pad(gradient.sum(self.axes, keepdim=True), [n for size in reversed(room) for n in (0, size)])


class Layouts:
    """The layouts of those named tensors that are not contiguous.

    Attributes:
        known: name → layout.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.known: dict[str, Layout] = {name: found for name, x in tensors.items() if (found := layout_of(x))}

    def apply(self, name: str, values: Any) -> Any:
        """The values in the layout of the tensor with that name."""
        return self.known[name].lay(values) if name in self.known else values

    @contextlib.contextmanager
    def replaced(self, name: str, layout: Layout | None) -> Iterator[None]:
        """Within this context the tensor with that name has another layout; None for contiguous."""
        before = self.known
        self.known = {n: own for n, own in before.items() if n != name} | ({} if layout is None else {name: layout})
        try:
            yield
        finally:
            self.known = before


def layout_of(tensor: Tensor) -> Strided | None:
    """The layout of a tensor; None if it is contiguous. Also None if entries share memory, as in an expanded tensor:
    they cannot be moved one at a time."""
    if tensor.layout != torch.strided or tensor.numel() == 0 or tensor.is_contiguous():
        return None
    sizes, strides = tensor.shape, tensor.stride()
    axes = tuple(sorted(range(tensor.ndim), key=lambda axis: (strides[axis], sizes[axis] > 1), reverse=True))
    if any(strides[axis] == 0 and sizes[axis] > 1 for axis in axes):
        return None
    # The stride of an axis of size 1 has no meaning.
    counted = [axis for axis in axes if sizes[axis] > 1]
    room = dict.fromkeys(axes, 1)
    room[counted[0]] = sizes[counted[0]]
    for outer, inner in pairwise(counted):
        room[inner], left = divmod(strides[outer], strides[inner])
        if left or room[inner] < sizes[inner]:
            return None
    return Strided(axes, tuple(room[axis] for axis in axes), strides[counted[-1]], int(tensor.storage_offset()))


def duplicate(tensor: Tensor, original: Tensor | None = None) -> Tensor:
    """A copy of a tensor in the layout of the original; in its own layout if no original is given."""
    layout = layout_of(tensor if original is None else original)
    return tensor.clone() if layout is None else layout.lay(tensor.contiguous())


def expanded_inputs(inputs: tuple[Any, ...]) -> dict[str, Expanded]:
    """The layouts of those inputs that are expanded, by name."""
    found, _ = pytree.tree_flatten_with_path(inputs)
    names = input_names([path for path, _ in found])
    tensors = {name: leaf for name, (_, leaf) in zip(names, found, strict=True) if isinstance(leaf, Tensor)}
    return {name: Expanded(axes, x.stride()) for name, x in tensors.items() if (axes := _expanded_axes(x))}


def expanded_inputs_note(inputs: tuple[Any, ...]) -> list[str]:
    """A note that names the expanded inputs; none where there are none."""
    names = expanded_inputs(inputs)
    reason = (
        "expanded, and checked as a copy in which every number has a place of its own, since each number is moved alone"
    )
    return [f"{' and '.join(names)}: {reason}"] if names else []


def _expanded_axes(tensor: Tensor) -> tuple[int, ...]:
    """The axes along which all entries of a tensor share memory."""
    if tensor.layout != torch.strided:
        return ()
    return tuple(
        axis for axis, (s, n) in enumerate(zip(tensor.stride(), tensor.shape, strict=True)) if s == 0 and n > 1
    )
