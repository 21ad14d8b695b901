"""How a tensor lies in memory, so that a copy of it lies in the same way: a kernel may be right for one layout alone."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from nets.verification.problem.pytree import input_names


@dataclass(frozen=True, slots=True)
class Memory:
    """The place of each number of a tensor that is not simply contiguous.

    Attributes:
        axes: the axes of the tensor, the one with the largest stride first.
        room: for each of these, how many numbers fit where the tensor has its numbers: more than it has where it is a slice.
        step: the stride of the innermost axis.
        offset: of the first number in its storage.
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
        """A copy of a contiguous tensor that lies in memory like this; differentiable, also by forward mode and under vmap."""
        ordered = values.permute(self.axes)
        padding = [0, self.step - 1]
        for size, room in zip(reversed(ordered.shape), reversed(self.room), strict=True):
            padding += [0, room - size]
        # The numbers in between belong to the larger tensor of which this one is a slice.
        flat = F.pad(ordered.unsqueeze(-1), padding).reshape(-1)
        inner = F.pad(flat, (self.offset, 0))[self.offset :].view(*self.room, self.step).select(-1, 0)
        for axis, size in enumerate(ordered.shape):
            inner = inner.narrow(axis, 0, size)
        return inner.permute([self.axes.index(axis) for axis in range(values.ndim)])


def memory_of(tensor: Tensor) -> Memory | None:
    """How a tensor lies in memory; None where it is contiguous and at the start of its storage, or has several numbers in one
    place, as an expanded tensor has: these cannot be moved one at a time."""
    if tensor.layout != torch.strided or tensor.numel() == 0 or tensor.is_contiguous():
        return None
    sizes, strides = tensor.shape, tensor.stride()
    axes = tuple(sorted(range(tensor.ndim), key=lambda axis: (strides[axis], sizes[axis] > 1), reverse=True))
    if any(strides[axis] == 0 and sizes[axis] > 1 for axis in axes):
        return None
    # An axis of one number has no stride that counts.
    counted = [axis for axis in axes if sizes[axis] > 1]
    room = dict.fromkeys(axes, 1)
    room[counted[0]] = sizes[counted[0]]
    for outer, inner in pairwise(counted):
        room[inner], left = divmod(strides[outer], strides[inner])
        if left or room[inner] < sizes[inner]:
            return None
    return Memory(axes, tuple(room[axis] for axis in axes), strides[counted[-1]], int(tensor.storage_offset()))


def duplicate(tensor: Tensor, original: Tensor | None = None) -> Tensor:
    """A copy of a tensor that lies in memory as the original does, which is the tensor itself if none is given."""
    memory = memory_of(tensor if original is None else original)
    return tensor.clone() if memory is None else memory.lay(tensor.contiguous())


@dataclass(frozen=True, slots=True)
class Repeated:
    """The place of each number of a tensor that is expanded along some axes: the first of them stands for the others."""

    axes: tuple[int, ...]
    strides: tuple[int, ...]

    def lay(self, values: Tensor) -> Tensor:
        """The first numbers along these axes, expanded."""
        first = values
        for axis in self.axes:
            first = first.narrow(axis, 0, 1)
        return first.contiguous().expand(values.shape)

    def summed(self, gradient: Tensor) -> Tensor:
        """The gradient by what `lay` is given: that of the first numbers, and zero for the others."""
        room = [gradient.shape[axis] - 1 if axis in self.axes else 0 for axis in range(gradient.ndim)]
        return F.pad(gradient.sum(self.axes, keepdim=True), [n for size in reversed(room) for n in (0, size)])


def repeated(inputs: tuple[Any, ...]) -> dict[str, Repeated]:
    """The inputs of which several numbers share one place in memory, by name."""
    found, _ = pytree.tree_flatten_with_path(inputs)
    names = input_names([path for path, _ in found])
    tensors = {name: leaf for name, (_, leaf) in zip(names, found, strict=True) if isinstance(leaf, Tensor)}
    return {name: Repeated(axes, x.stride()) for name, x in tensors.items() if (axes := _expanded(x))}


def written_out(inputs: tuple[Any, ...]) -> list[str]:
    """A note on the inputs of which several numbers share one place in memory; none where there are none."""
    reason = "expanded, and checked as a copy with every number in a place of its own, since each of them is moved alone"
    expanded = repeated(inputs)
    return [f"{' and '.join(expanded)}: {reason}"] if expanded else []


def _expanded(tensor: Tensor) -> tuple[int, ...]:
    """The axes along which a tensor has its numbers in one place."""
    if tensor.layout != torch.strided:
        return ()
    return tuple(axis for axis, (s, n) in enumerate(zip(tensor.stride(), tensor.shape, strict=True)) if s == 0 and n > 1)
