"""The Euclidean norms of many tensors, in one call, however many tensors there are."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

BLOCK = 8_192
"""Numbers to a dot product: beyond some ten thousand a BLAS library calls other threads, which takes longer than the product."""


def norms_of(tensors: Sequence[Tensor]) -> Callable[[], list[float]]:
    """‖t‖ = (Σ_b t_b · t_b)^½ over blocks b of each tensor t, as a function to be called as often as the tensors have changed.

    It takes a third of the time of `norms_now`, which it is for tensors that are not contiguous, not in the memory of a processor,
    or of less precision than float32.
    """
    if not all(t.device.type == "cpu" and t.is_contiguous() and t.dtype in (torch.float32, torch.float64) for t in tensors):
        return partial(norms_now, tensors)
    parts = [t.detach().view(-1).split(BLOCK) for t in tensors]
    blocks = [block.numpy() for part in parts for block in part]
    starts = None if len(blocks) == len(tensors) else np.cumsum([0, *map(len, parts)])[:-1]

    def found() -> list[float]:
        squares = list(map(np.ndarray.dot, blocks, blocks))
        return list(map(math.sqrt, squares if starts is None else np.add.reduceat(squares, starts)))

    return found


def norms_now(tensors: Sequence[Tensor]) -> list[float]:
    """‖t‖ of each tensor as it is, in float32 at least, so that no square in half precision overflows."""
    if not tensors:
        return []
    precision = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
    return [norm.item() for norm in torch._foreach_norm(list(tensors), 2, precision)]
