"""Matrix products by NumPy's BLAS library, of the shapes for which PyTorch's is slow: small ones, and thin ones.

A product of 64×1,024 and 1,024×10 takes PyTorch on an AMD processor four times as long as NumPy, and a product of few numbers is
not called for as long as PyTorch takes to be called.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import repeat

import numpy as np
from numpy import array_split as split
from numpy.typing import NDArray

Array = NDArray[np.floating]

BLOCK = 2**18
"""Multiplications in a block. From here on a BLAS library would call other threads, whatever PyTorch was told of threads."""

THIN = 32
"""Rows, columns or terms of a sum below which a product is thin."""

MOST = 2**22
"""Multiplications in a thin product up to which it is done block by block; more are worth the threads that PyTorch has."""


def by_blas(bias: list[Array], a: Array, b: Array, out: Array) -> Callable[[], object] | None:
    """Σ_k a_nk b_km, and a bias_m where there is one, as a call that writes to `out`; None for a shape to be left to PyTorch."""
    (rows, terms), columns = a.shape, b.shape[1]
    size = rows * terms * columns
    if size > (MOST if min(rows, terms, columns) < THIN else BLOCK):
        return None
    count = min(math.ceil(size / BLOCK), max(rows, columns))
    if count <= 1:
        # The same product, called sooner, and for contiguous memory only.
        calls: list[Callable[[], object]] = [partial(np.dot if out.flags.c_contiguous else np.matmul, a, b, out)]
    elif rows >= columns:
        calls = [partial(np.matmul, *block) for block in zip(split(a, count), repeat(b), split(out, count), strict=False)]
    else:
        calls = [partial(np.matmul, *block) for block in zip(repeat(a), split(b, count, 1), split(out, count, 1), strict=False)]
    calls += [partial(np.add, out, one, out) for one in bias]
    return calls[0] if len(calls) == 1 else partial(_all, calls)


def _all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        call()
