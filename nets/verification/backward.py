"""Walking back through a recorded graph."""

from collections.abc import Mapping

import torch
from torch import Tensor


def row_gradients(y: Tensor, row: int, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """∂Y_row/∂leaf for every leaf of a recorded graph, as real tensors; zero where the graph does not reach."""
    cotangent = torch.zeros_like(y)
    cotangent[row] = 1
    return pull_back(y, cotangent, leaves)


def pull_back(y: Tensor, cotangent: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Σ_m v_m ∂Y_m/∂leaf for every leaf of a recorded graph, as real tensors; zero where the graph does not reach."""
    if not y.requires_grad:
        found: tuple[Tensor | None, ...] = (None,) * len(leaves)
    else:
        found = torch.autograd.grad(y, list(leaves.values()), cotangent.clone(), retain_graph=True, allow_unused=True)
    # A copy, since autograd may hand out the cotangent itself, or one tensor for two leaves.
    return {name: dense(gradient, leaf).clone() for (name, leaf), gradient in zip(leaves.items(), found, strict=True)}


def dense(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    """What autograd found for a leaf, as a real tensor: zero where it found nothing, and with its zeros where it is sparse."""
    full = torch.zeros_like(leaf) if gradient is None else gradient.to_dense() if gradient.is_sparse else gradient
    return torch.view_as_real(full.resolve_conj()) if full.is_complex() else full
