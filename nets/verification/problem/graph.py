"""Walking back through a recorded graph."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor


def row_gradients(y: Tensor, row: int, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """∂Y_row/∂leaf for every leaf of a recorded graph, as real tensors; zero where the graph does not reach."""
    cotangent = torch.zeros_like(y)
    cotangent[row] = 1
    return pull_back(y, cotangent, leaves)


def rows_of(record: Callable[[], tuple[Tensor, dict[str, Tensor]]], rows: Iterable[int]) -> Iterator[dict[str, Tensor]]:
    """The gradients of some rows from the graph of one call, or of a call for each where a graph cannot be walked twice."""
    y, leaves = record()
    for walks, row in enumerate(rows):
        try:
            found = row_gradients(y, row, leaves)
        except Exception:  # whatever a backward raises that has let go of what it kept
            if walks == 0:
                raise
            y, leaves = record()
            found = row_gradients(y, row, leaves)
        yield found


def pull_back(y: Tensor, cotangent: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Σ_m v_m ∂Y_m/∂leaf for every leaf of a recorded graph, as real tensors; zero where the graph does not reach."""
    # Copies, since autograd may hand out the cotangent itself, one tensor for two leaves, or what a module keeps and writes to.
    return {name: gradient.clone() for name, gradient in handed_out(y, cotangent, leaves).items()}


def handed_out(y: Tensor, cotangent: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in the memory in which autograd has it: to be looked at before the next pass, and not to be written to."""
    if not y.requires_grad:
        found: tuple[Tensor | None, ...] = (None,) * len(leaves)
    else:
        found = torch.autograd.grad(y, list(leaves.values()), cotangent.clone(), retain_graph=True, allow_unused=True)
    return {name: dense(gradient, leaf) for (name, leaf), gradient in zip(leaves.items(), found, strict=True)}


def dense(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    """What autograd found for a leaf, as a real tensor: zero where it found nothing, and with its zeros where it is sparse."""
    # Detached: a backward that returns what it has saved hands out a tensor with a graph, or a leaf.
    found = None if gradient is None else gradient.detach()
    full = torch.zeros_like(leaf) if found is None else found.to_dense() if found.is_sparse else found
    return torch.view_as_real(full.resolve_conj()) if full.is_complex() else full
