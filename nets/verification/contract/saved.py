"""What a backward has saved must be there when it reads it.

Autograd counts the in-place operations on each tensor and refuses a backward whose saved tensors have changed. A write through
`.data`, or by a kernel that was handed a pointer, is not counted: the backward then reads other numbers, and nobody notices.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nets.records.reason import Finding, Reason
from nets.verification.attempt import quiet
from nets.verification.compare.comparison import POWER
from nets.verification.contract.recorded import record
from nets.verification.contract.watching import name_of, nodes_of, same
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import signed, stream

STEP = 2.0**-16
"""How far every number is moved for the slope that a gradient must have."""


@dataclass
class Kept:
    """A tensor that is saved for a backward pass, and the numbers and the version that it had when it was saved."""

    tensor: Tensor
    numbers: Tensor
    version: int
    overwritten: bool = False

    def changed_unseen(self) -> bool:
        """Whether it holds other numbers now, by a write that autograd did not count: after one that it counts, it refuses."""
        return self.tensor._version == self.version and not same(self.tensor, self.numbers)


class Saving:
    """While active, calls save their tensors here.

    Args:
        restore: whether a backward pass is given the numbers that were saved, whatever has become of the tensor.

    Attributes:
        reader: which backward was the first to read a tensor that had been overwritten.
        writer: which backward wrote to it, if it was one.
    """

    def __init__(self, restore: bool) -> None:
        self.restore = restore
        self.reader = self.writer = ""
        self._kept: list[Kept] = []
        self._current = ""
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def __enter__(self) -> "Saving":
        self._hooks.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.__exit__()

    def follow(self, outputs: list[Tensor]) -> None:
        """Take note of which node of the graph is at work, from now on."""
        for node in nodes_of(outputs):
            name = name_of(node)
            node.register_prehook(lambda _, name=name: self._begin(name))
            node.register_hook(lambda _, __, name=name: self._end(name))

    def _begin(self, name: str) -> None:
        self._current = name

    def _end(self, name: str) -> None:
        changed = [kept for kept in self._kept if not kept.overwritten and kept.changed_unseen()]
        for kept in changed:
            kept.overwritten = True
        if changed and not self.writer:
            self.writer = name

    def _pack(self, tensor: Tensor) -> Kept | Tensor:
        if tensor.layout != torch.strided or type(tensor) not in (Tensor, torch.nn.Parameter):
            return tensor
        with torch.no_grad():
            kept = Kept(tensor, tensor.detach().clone(), tensor._version)
        self._kept.append(kept)
        return kept

    def _unpack(self, kept: Any) -> Tensor:
        if not isinstance(kept, Kept):
            return kept
        if not self.reader and kept.changed_unseen():
            self.reader = self._current or "a backward"
        # A copy, since a backward that writes to what it has saved must not write to these.
        return kept.numbers.clone() if self.restore else kept.tensor


def overwritten(problem: Problem) -> Finding | None:
    """Why a gradient is wrong, where it is since a saved tensor was overwritten before a backward read it; None where it is not:
    unless the numbers that were saved do give the slope that a difference has, along a random direction."""
    try:
        with quiet():
            if not _walked(problem, restore=False, follow=False)[0].reader:
                return None
            saving, found = _walked(problem, restore=False, follow=True)
            _, restored = _walked(problem, restore=True, follow=False)
            if not _mended(problem, found, restored):
                return None
    except Exception:  # a forward that does not allow for hooks on what it saves, such as one with a transform of torch.func
        return None
    when = f"by {saving.writer}" if saving.writer else "after it was saved"
    return Reason.SAVED_TENSOR_OVERWRITTEN.because(reader=saving.reader, when=when)


def _walked(problem: Problem, restore: bool, follow: bool) -> tuple[Saving, dict[str, Tensor]]:
    with Saving(restore) as saving:
        call = record(problem)
    if follow:
        saving.follow(call.outputs)
    return saving, call.pull_back(call.cotangents)


def _mended(problem: Problem, found: dict[str, Tensor], restored: dict[str, Tensor]) -> bool:
    """Whether the restored gradients have the slope of vᵀY along a random direction, and those that were found have not."""
    directions = {name: signed(p.numel(), stream(problem.seed, "along", name)).view(p.shape) for name, p in problem.points.items()}
    sides = []
    with problem.put_back() as here:
        for h in (STEP, -STEP):
            for name, point in problem.points.items():
                point.copy_(here[name] + h * directions[name])
            sides.append(float(problem.cotangent @ problem.evaluate()))
    slope = (sides[0] - sides[1]) / (2 * STEP)
    right, wrong = (sum(float((g[name] * t).sum()) for name, t in directions.items()) for g in (restored, found))
    return abs(right - slope) <= POWER * abs(slope) < abs(wrong - slope)
