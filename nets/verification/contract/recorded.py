"""One call of a module with its graph: each output can be given a cotangent of its own, or none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nets.torch_internals import pytree
from nets.verification.problem.calling.errors import OtherOutputsError
from nets.verification.problem.graph import dense
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import as_real, differentiable

Cotangents = Sequence[Tensor | None]
"""A cotangent for each output; None where no gradient arrives at it."""

CotangentChoice = Callable[[list[Tensor]], Cotangents]
"""Makes cotangents from the usual ones."""


@dataclass(frozen=True)
class RecordedCall:
    """One call of a module.

    Attributes:
        outputs: the output tensors that require a gradient.
        names: of each output: 'Y' where the module returns one tensor, otherwise 'Y[0]' or "Y['key']".
        cotangents: for each output its part of `problem.cotangent`, contiguous, with memory of its own.
        leaves: name → the tensor that the gradient is taken by.
    """

    outputs: list[Tensor]
    names: list[str]
    cotangents: list[Tensor]
    leaves: dict[str, Tensor]

    def pull_back(self, cotangents: Cotangents) -> dict[str, Tensor]:
        """Σ_o v_oᵀ ∂Y_o/∂p for every leaf p, over the outputs o whose cotangent is not None."""
        used = [(y, v) for y, v in zip(self.outputs, cotangents, strict=True) if v is not None]
        found = torch.autograd.grad(
            [y for y, _ in used], list(self.leaves.values()), [v for _, v in used], retain_graph=True, allow_unused=True
        )
        # Copies, since autograd may return a cotangent itself, or memory that the module writes to later.
        return {name: dense(g, leaf).clone() for (name, leaf), g in zip(self.leaves.items(), found, strict=True)}


def record(problem: Problem) -> RecordedCall:
    """A new call, at the point of the problem.

    Raises:
        InputError: if the module returns another number of outputs than at first.
    """
    output, leaves = problem.record_output()
    outputs, names, cotangents, start = list[Tensor](), list[str](), list[Tensor](), 0
    tensors = [leaf for leaf in pytree.tree_leaves(output) if differentiable(leaf)]
    count = sum(as_real(tensor).numel() for tensor in tensors)
    if count != len(problem.y):
        raise OtherOutputsError(len(problem.y), count)
    for tensor, key in zip(tensors, problem.outputs.keys, strict=True):
        size = tensor.numel() * (2 if tensor.is_complex() else 1)
        part = problem.cotangent[start : start + size]
        start += size
        if tensor.requires_grad and size:
            real = part.reshape(*tensor.shape, 2) if tensor.is_complex() else part.reshape(tensor.shape)
            outputs.append(tensor)
            names.append("Y" + "".join(f"[{step!r}]" for step in key))
            cotangents.append(
                (torch.complex(*real.unbind(-1)) if tensor.is_complex() else real).to(tensor.dtype).clone()
            )
    return RecordedCall(outputs, names, cotangents, leaves)


@dataclass
class BackwardPasses:
    """Backward passes of one problem with different cotangents, through one graph as long as that is possible."""

    problem: Problem
    _call: RecordedCall | None = field(default=None, init=False)

    @property
    def call(self) -> RecordedCall:
        """The recorded call."""
        if self._call is None:
            self._call = record(self.problem)
        return self._call

    def forget_graph(self) -> None:
        """Let the next backward pass record a new graph."""
        self._call = None

    def pull_back(self, choice: CotangentChoice) -> dict[str, Tensor]:
        """The gradients for the cotangents that `choice` makes from the usual ones.

        Raises:
            Exception: whatever the backward pass raises in a new graph.
        """
        used_before = self._call is not None
        try:
            return self.call.pull_back(choice(self.call.cotangents))
        except Exception:  # a backward that has freed what it saved may raise anything
            self.forget_graph()
            if not used_before:
                raise
            return self.call.pull_back(choice(self.call.cotangents))
