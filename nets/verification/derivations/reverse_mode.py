"""Reverse mode: the module's own backward pass, once for each output, or for all outputs at once under vmap."""

import torch
from torch import Tensor

from nets.verification.attempt import attempt
from nets.verification.problem.graph import rows_of
from nets.verification.problem.problem import Problem


def reverse_mode(problem: Problem) -> dict[str, Tensor]:
    """∂Y/∂p of every point, shape (M, P), by one backward pass for each output, as a user runs it."""
    rows = list(rows_of(problem.record, range(len(problem.y))))
    return {name: torch.stack([row[name].reshape(-1) for row in rows]) for name in problem.points}


def batched_reverse(problem: Problem) -> dict[str, Tensor] | None:
    """The same by one backward pass under vmap; None where the module cannot be batched."""

    def batched() -> dict[str, Tensor]:
        y, leaves = problem.record()
        eye = torch.eye(len(y), dtype=y.dtype)
        found = torch.autograd.grad(y, list(leaves.values()), eye, is_grads_batched=True, allow_unused=True)
        return {name: _rows(gradient, leaf, y) for (name, leaf), gradient in zip(leaves.items(), found, strict=True)}

    return attempt(batched).or_none()


def _rows(gradient: Tensor | None, leaf: Tensor, y: Tensor) -> Tensor:
    """What autograd found for a leaf, as M rows of real numbers; zero where it found nothing."""
    dense = torch.zeros(len(y), *leaf.shape, dtype=leaf.dtype) if gradient is None else gradient.detach()
    return (torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense).reshape(len(y), -1)
