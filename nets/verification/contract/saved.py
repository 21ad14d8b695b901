"""Whether a wrong gradient comes from a saved tensor that was overwritten before the backward pass read it.

Autograd counts the in-place operations on each tensor and refuses a backward whose saved tensors have changed. It does
not count a write through `.data`, or by a kernel that was handed a pointer: the backward then reads other numbers,
without an error.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nets.records.reason import Finding, Reason
from nets.torch_internals import version_of
from nets.verification.attempt import attempt
from nets.verification.compare.comparison import POWER
from nets.verification.contract.graph_nodes import name_of
from nets.verification.contract.recorded import record
from nets.verification.problem.graph import nodes_of
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import same_numbers
from nets.verification.problem.randomness import signed, stream

SLOPE_STEP = 2.0**-16
"""How far every number is moved for the slope along a random direction."""


@dataclass
class SavedTensor:
    """A tensor that a forward saved, with the numbers and the version that it had then."""

    tensor: Tensor
    numbers: Tensor
    version: int
    overwritten: bool = False

    def changed_unseen(self) -> bool:
        """Whether it has other numbers now by a write that autograd did not count. A backward refuses a counted
        write."""
        return version_of(self.tensor) == self.version and not same_numbers(self.tensor, self.numbers)


class SavedTensors:
    """A context in which forward passes save their tensors here.

    Args:
        restore: whether a backward pass is given the numbers that were saved, even if the tensor was overwritten.

    Attributes:
        reader: the first backward that read an overwritten tensor; '' if none did.
        writer: the first backward that overwrote one; '' if none did.
    """

    def __init__(self, restore: bool) -> None:
        self.restore = restore
        self.reader = self.writer = ""
        self._saved: list[SavedTensor] = []
        self._current = ""
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def __enter__(self) -> "SavedTensors":
        self._hooks.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.__exit__()

    def follow(self, outputs: list[Tensor]) -> None:
        """Note from now on which node of the graph runs, and which overwrites a saved tensor."""
        for node in nodes_of(outputs):
            name = name_of(node)
            node.register_prehook(lambda _, name=name: self._begin(name))
            node.register_hook(lambda _, __, name=name: self._end(name))

    def _begin(self, name: str) -> None:
        self._current = name

    def _end(self, name: str) -> None:
        changed = [saved for saved in self._saved if not saved.overwritten and saved.changed_unseen()]
        for saved in changed:
            saved.overwritten = True
        if changed and not self.writer:
            self.writer = name

    def _pack(self, tensor: Tensor) -> SavedTensor | Tensor:
        if tensor.layout != torch.strided or type(tensor) not in (Tensor, torch.nn.Parameter):
            return tensor
        with torch.no_grad():
            saved = SavedTensor(tensor, tensor.detach().clone(), version_of(tensor))
        self._saved.append(saved)
        return saved

    def _unpack(self, saved: Any) -> Tensor:
        if not isinstance(saved, SavedTensor):
            return saved
        if not self.reader and saved.changed_unseen():
            self.reader = self._current or "a backward"
        # A copy, since a backward that writes into what it saved must not write into these numbers.
        return saved.numbers.clone() if self.restore else saved.tensor


def overwritten_tensor(problem: Problem) -> Finding | None:
    """Which saved tensor was overwritten, if that explains a wrong gradient; None otherwise.

    It explains the gradient if the saved numbers, restored, give the slope that a difference shows along a random
    direction, and the gradient as it is does not.
    """
    # None also where a forward cannot be combined with hooks on saved tensors, such as one with a transform of
    # torch.func.
    return attempt(lambda: _overwritten(problem)).or_none()


def _overwritten(problem: Problem) -> Finding | None:
    if not _pull_back(problem, restore=False, follow=False)[0].reader:
        return None
    saved, found = _pull_back(problem, restore=False, follow=True)
    _, restored = _pull_back(problem, restore=True, follow=False)
    if not _mended(problem, found, restored):
        return None
    when = f"by {saved.writer}" if saved.writer else "after it was saved"
    return Reason.SAVED_TENSOR_OVERWRITTEN.because(reader=saved.reader, when=when)


def _pull_back(problem: Problem, restore: bool, follow: bool) -> tuple[SavedTensors, dict[str, Tensor]]:
    with SavedTensors(restore) as saved:
        call = record(problem)
    if follow:
        saved.follow(call.outputs)
    return saved, call.pull_back(call.cotangents)


def _mended(problem: Problem, found: dict[str, Tensor], restored: dict[str, Tensor]) -> bool:
    """Whether the restored gradients have the slope of vᵀY along a random direction, and the gradients found do not."""
    directions = {
        name: signed(p.numel(), stream(problem.seed, "along", name)).view(p.shape) for name, p in problem.points.items()
    }
    sides = []
    with problem.put_back() as here:
        for h in (SLOPE_STEP, -SLOPE_STEP):
            for name, point in problem.points.items():
                point.copy_(here[name] + h * directions[name])
            sides.append(float(problem.cotangent @ problem.evaluate()))
    slope = (sides[0] - sides[1]) / (2 * SLOPE_STEP)
    right, wrong = (sum(float((g[name] * t).sum()) for name, t in directions.items()) for g in (restored, found))
    return abs(right - slope) <= POWER * abs(slope) < abs(wrong - slope)
