"""The Euclidean norms of many tensors in one call."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets import torch_internals

BLOCK = 8_192
"""Numbers in one dot product. Beyond about ten thousand a BLAS library starts other threads, which takes longer than
the product."""

EXACT_SUM = 2**16
"""Numbers up to which PyTorch adds up squares in float32 with an error below 1e-6."""

ROW = 2_048
"""Numbers in one partial sum of a larger tensor."""


def norms_of(tensors: Sequence[Tensor]) -> Callable[[], list[float]]:
    """A function that computes ‖t‖ = (Σ_b t_b · t_b)^½ over blocks b of each tensor t, at each call from the current
    numbers.

    The numbers are those of `norms_now` to the last bit, in a third of the time.
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
    """‖t‖ of each tensor, in float32 at least, so that no square in half precision overflows."""
    if not tensors:
        return []
    if _by_blocks(tensors):
        return list(map(_norm, tensors))
    precision = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
    return [norm.item() for norm in norm_tensors(tensors, precision)]


def _by_blocks(tensors: Sequence[Tensor]) -> bool:
    """Whether NumPy can read all of them: on the CPU, contiguous, in float32 or float64."""
    return all(t.is_cpu and t.is_contiguous() and t.dtype in (torch.float32, torch.float64) for t in tensors)


def _blocks(t: Tensor) -> "list[NDArray[np.floating]]":
    """A contiguous tensor in pieces of BLOCK numbers."""
    flat = t.detach().numpy().reshape(-1)
    return [flat] if len(flat) <= BLOCK else [flat[start : start + BLOCK] for start in range(0, len(flat), BLOCK)]


def _norm(t: Tensor) -> float:
    if t.numel() <= BLOCK:
        numbers = t.detach().numpy()
        return math.sqrt(np.vdot(numbers, numbers))
    blocks = _blocks(t)
    return math.sqrt(np.add.reduceat(list(map(np.ndarray.dot, blocks, blocks)), [0])[0])


def norm_tensors(tensors: Sequence[Tensor], precision: torch.dtype) -> tuple[Tensor, ...]:
    """‖t‖ of each tensor, as tensors on its own device, without waiting for a GPU.

    On a CPU PyTorch adds a million squares in so few partial sums that in float32 the rounding error reaches 1e-5.
    Large tensors are therefore added up in parts.
    """
    given = [t if t.numel() <= EXACT_SUM or t.device.type != "cpu" else _by_rows(t, precision) for t in tensors]
    return tuple(torch_internals.norms(given, precision))


def row_norms(rows: Tensor) -> Tensor:
    """‖t_n‖ of each row of a matrix, added up in parts as in `norm_tensors`."""
    return torch.linalg.vector_norm(
        torch.stack([torch.linalg.vector_norm(part, dim=1) for part in rows.split(EXACT_SUM, 1)]), dim=0
    )


def _by_rows(t: Tensor, precision: torch.dtype) -> Tensor:
    """The norms of parts of a tensor. The norm of these norms is that of the tensor."""
    flat = t.reshape(-1)
    whole = len(flat) // ROW * ROW
    rows = torch.linalg.vector_norm(flat[:whole].view(-1, ROW), dim=1, dtype=precision)
    return (
        rows if whole == len(flat) else torch.cat([rows, torch.linalg.vector_norm(flat[whole:], dtype=precision)[None]])
    )


def norms_of_products(v: Tensor, x: Tensor) -> Tensor:
    """‖Σ_l v_li x_lj‖ for each pair of matrices v (…, L, I) and x (…, L, J), of shape (…).

    Either the products of the rows, (Σ_lm (Σ_i v_li v_mi) (Σ_j x_lj x_mj))^½, which take L² (I + J) multiplications, or
    the product itself, which takes L I J: whichever takes fewer (Goodfellow, arXiv:1510.01799; Rochette, Manoel,
    Tramel, arXiv:1912.06015).
    """
    rows, (i, j) = v.shape[-2], (v.shape[-1], x.shape[-1])
    if rows * (i + j) < i * j:
        # Rounding may leave a sum of squares that is zero slightly below zero.
        return ((v @ v.mT) * (x @ x.mT)).sum((-2, -1)).clamp(min=0).sqrt()
    return torch.linalg.vector_norm(v.mT @ x, dim=(-2, -1))
