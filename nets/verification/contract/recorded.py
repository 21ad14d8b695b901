"""A call of a module with the graph that it records, output by output: each output can be given a cotangent of its own, or none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nets.verification.problem.graph import dense
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import differentiable

Cotangents = Sequence[Tensor | None]


@dataclass(frozen=True)
class Recorded:
    """One call of a module.

    Attributes:
        outputs: those tensors of its output that require a gradient.
        names: where each of them stands in the output: () where it is all of it, else an index or key.
        cotangents: for each of them its part of `problem.cotangent`, contiguous, each in memory of its own.
        leaves: what the gradient is taken by.
    """

    outputs: list[Tensor]
    names: list[str]
    cotangents: list[Tensor]
    leaves: dict[str, Tensor]

    def pull_back(self, cotangents: Cotangents) -> dict[str, Tensor]:
        """Σ_o v_oᵀ ∂Y_o/∂p of every leaf p; an output whose cotangent is None takes no part."""
        used = [(y, v) for y, v in zip(self.outputs, cotangents, strict=True) if v is not None]
        found = torch.autograd.grad(
            [y for y, _ in used], list(self.leaves.values()), [v for _, v in used], retain_graph=True, allow_unused=True
        )
        # Copies, since autograd may hand out a cotangent itself, or memory that the module keeps and writes to.
        return {name: dense(g, leaf).clone() for (name, leaf), g in zip(self.leaves.items(), found, strict=True)}


def record(problem: Problem) -> Recorded:
    """A new call, at the point of the problem."""
    output, leaves = problem.record_output()
    outputs, names, cotangents, start = list[Tensor](), list[str](), list[Tensor](), 0
    tensors = [leaf for leaf in pytree.tree_leaves(output) if differentiable(leaf)]
    for tensor, place in zip(tensors, problem.outputs.places, strict=True):
        size = tensor.numel() * (2 if tensor.is_complex() else 1)
        part = problem.cotangent[start : start + size]
        start += size
        if tensor.requires_grad and size:
            real = part.reshape(*tensor.shape, 2) if tensor.is_complex() else part.reshape(tensor.shape)
            outputs.append(tensor)
            names.append("Y" + "".join(f"[{step!r}]" for step in place))
            cotangents.append((torch.complex(*real.unbind(-1)) if tensor.is_complex() else real).to(tensor.dtype).clone())
    return Recorded(outputs, names, cotangents, leaves)


@dataclass
class Walks:
    """Backward passes of a problem with cotangents of any kind: through one graph as long as that can be walked."""

    problem: Problem
    _kept: Recorded | None = field(default=None, init=False)

    @property
    def recorded(self) -> Recorded:
        if self._kept is None:
            self._kept = record(self.problem)
        return self._kept

    def anew(self) -> None:
        """Let the next pass have a graph of its own."""
        self._kept = None

    def pull_back(self, chosen: Callable[[list[Tensor]], Cotangents]) -> dict[str, Tensor]:
        """The gradients for the cotangents that `chosen` makes of the usual ones.

        Raises:
            Exception: whatever the backward pass raises in a graph that no one has walked before.
        """
        walked = self._kept is not None
        try:
            return self.recorded.pull_back(chosen(self.recorded.cotangents))
        except Exception:  # a backward that has let go of what it kept
            self.anew()
            if not walked:
                raise
            return self.recorded.pull_back(chosen(self.recorded.cotangents))
