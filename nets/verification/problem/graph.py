"""Gradients from a recorded graph."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def nodes_of(outputs: Iterable[Tensor]) -> Iterator[Any]:
    """Every node of the graph of some outputs, each once."""
    waiting = [y.grad_fn for y in outputs if y.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield node
        for inner, _ in node.next_functions:
            if inner is not None and inner not in seen:
                seen.add(inner)
                waiting.append(inner)


def row_gradients(y: Tensor, row: int, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """∂Y_row/∂leaf for every leaf of a recorded graph, as real tensors; zero for a leaf that the graph does not
    reach."""
    cotangent = torch.zeros_like(y)
    cotangent[row] = 1
    return pull_back(y, cotangent, leaves)


def rows_of(record: Callable[[], tuple[Tensor, dict[str, Tensor]]], rows: Iterable[int]) -> Iterator[dict[str, Tensor]]:
    """The gradients of some rows of Y, from the graph of one call, or of a call for each row where a backward frees its
    graph."""
    y, leaves = record()
    for walks, row in enumerate(rows):
        try:
            found = row_gradients(y, row, leaves)
        except Exception:  # a backward that has freed what it saved may raise anything
            if walks == 0:
                raise
            y, leaves = record()
            found = row_gradients(y, row, leaves)
        yield found


def pull_back(y: Tensor, cotangent: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Σ_m v_m ∂Y_m/∂leaf for every leaf of a recorded graph, as real tensors; zero for a leaf that the graph does not
    reach."""
    # Copies, since autograd may return the cotangent itself, one tensor for two leaves, or memory that a module writes
    # to later.
    return {name: gradient.clone() for name, gradient in handed_out(y, cotangent, leaves).items()}


def handed_out(y: Tensor, cotangent: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same without copies: to be read before the next backward pass, and not to be written to."""
    if not y.requires_grad:
        found: tuple[Tensor | None, ...] = (None,) * len(leaves)
    else:
        found = torch.autograd.grad(y, list(leaves.values()), cotangent.clone(), retain_graph=True, allow_unused=True)
    return {name: dense(gradient, leaf) for (name, leaf), gradient in zip(leaves.items(), found, strict=True)}


def dense(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    """The gradient that autograd found for a leaf, as a real dense tensor: zero where it found none."""
    # Detached: a backward that returns a saved tensor returns one with a graph, or a leaf.
    found = None if gradient is None else gradient.detach()
    full = torch.zeros_like(leaf) if found is None else found.to_dense() if found.is_sparse else found
    return torch.view_as_real(full.resolve_conj()) if full.is_complex() else full
