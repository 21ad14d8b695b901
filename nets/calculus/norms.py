"""The Euclidean norms of many tensors, in one call, however many tensors there are."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 8_192
"""Numbers to a dot product: beyond some ten thousand a BLAS library calls other threads, which takes longer than the product."""

MANY = 2**16
"""Numbers whose squares PyTorch adds up in float32 to less than 1e-6."""

ROW = 2_048
"""Numbers to a row of a tensor that has more than that."""


def norms_of(tensors: Sequence[Tensor]) -> Callable[[], list[float]]:
    """‖t‖ = (Σ_b t_b · t_b)^½ over blocks b of each tensor t, as a function to be called as often as the tensors have changed.

    It gives the numbers of `norms_now` to the last bit, in a third of the time.
    """
    if not _by_blocks(tensors):
        return partial(norms_now, tensors)
    parts = [_blocks(t) for t in tensors]
    blocks = [block for part in parts for block in part]
    starts = None if len(blocks) == len(tensors) else np.cumsum([0, *map(len, parts)])[:-1]

    def found() -> list[float]:
        squares = list(map(np.ndarray.dot, blocks, blocks))
        return list(map(math.sqrt, squares if starts is None else np.add.reduceat(squares, starts)))

    return found


def norms_now(tensors: Sequence[Tensor]) -> list[float]:
    """‖t‖ of each tensor as it is, in float32 at least, so that no square in half precision overflows."""
    if not tensors:
        return []
    if _by_blocks(tensors):
        return [_norm(_blocks(t)) for t in tensors]
    precision = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
    return [norm.item() for norm in norm_tensors(tensors, precision)]


def _by_blocks(tensors: Sequence[Tensor]) -> bool:
    """Whether NumPy can go through all of them: on the CPU, contiguous, in float32 or float64."""
    return all(t.device.type == "cpu" and t.is_contiguous() and t.dtype in (torch.float32, torch.float64) for t in tensors)


def _blocks(t: Tensor) -> "list[NDArray[np.floating]]":
    """A contiguous tensor in pieces of BLOCK numbers."""
    flat = t.detach().numpy().reshape(-1)
    return [flat] if len(flat) <= BLOCK else [flat[start : start + BLOCK] for start in range(0, len(flat), BLOCK)]


def _norm(blocks: "list[NDArray[np.floating]]") -> float:
    squares = list(map(np.ndarray.dot, blocks, blocks))
    return math.sqrt(squares[0] if len(squares) == 1 else np.add.reduceat(squares, [0])[0])


def norm_tensors(tensors: Sequence[Tensor], precision: torch.dtype) -> tuple[Tensor, ...]:
    """‖t‖ of each tensor as it is, where it is: a GPU is not waited for.

    On a CPU PyTorch adds a million squares up in so few sums that in float32 their roundings come to 1e-5: large ones go by parts.
    """
    given = [t if t.numel() <= MANY or t.device.type != "cpu" else _by_rows(t, precision) for t in tensors]
    return tuple(torch._foreach_norm(given, 2, precision))


def row_norms(rows: Tensor) -> Tensor:
    """‖t_n‖ of each row of a matrix, from those of parts of it, for the same reason."""
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part, dim=1) for part in rows.split(MANY, 1)]), dim=0)


def _by_rows(t: Tensor, precision: torch.dtype) -> Tensor:
    """The norms of parts of a tensor, whose norm is its own."""
    flat = t.reshape(-1)
    whole = len(flat) // ROW * ROW
    rows = torch.linalg.vector_norm(flat[:whole].view(-1, ROW), dim=1, dtype=precision)
    return rows if whole == len(flat) else torch.cat([rows, torch.linalg.vector_norm(flat[whole:], dtype=precision)[None]])
