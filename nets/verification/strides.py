"""How a tensor lies in memory, so that a copy of it lies in the same way: a kernel may be right for one layout alone."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from nets.verification.leaves import input_names


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


def written_out(inputs: tuple[Any, ...]) -> list[str]:
    """A note on the inputs of which several numbers share one place in memory; none where there are none."""
    found, _ = pytree.tree_flatten_with_path(inputs)
    names = input_names([path for path, _ in found])
    expanded = [name for name, (_, leaf) in zip(names, found, strict=True) if isinstance(leaf, Tensor) and _expanded(leaf)]
    reason = "expanded, and checked as a copy with every number in a place of its own, since each of them is moved alone"
    return [f"{' and '.join(expanded)}: {reason}"] if expanded else []


def _expanded(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and any(s == 0 and n > 1 for s, n in zip(tensor.stride(), tensor.shape, strict=True))
