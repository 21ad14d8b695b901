"""Matrix products by NumPy's BLAS library, of the shapes for which it is faster than PyTorch's.

On an AMD processor it does a product of 64×1,024 and 1,024×10 in a quarter of the time, and one of a few hundred thousand
multiplications in two thirds; what is small takes PyTorch longer to be called for than to do. In blocks of rows it stays among the
shapes that it has fast kernels for, and on one thread, whatever it was told of threads.
"""

from collections.abc import Callable
from functools import partial
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

BLOCK = 2**19 - 1
"""Multiplications of two matrices in a block. OpenBLAS calls a thread for every 2¹⁸ of them, rounded down."""

VECTOR = 2**18
"""Multiplications of a matrix and a vector in a block: OpenBLAS calls other threads from 460,800 on."""

MOST = 2**24
"""Multiplications up to which a product is done block by block on the one thread that there is."""

THIN = 32
"""Rows, columns or terms of a sum below which a product is thin."""

THIN_MOST = 2**22
"""Multiplications up to which a thin product is, even where there are more threads: they would wait for each other."""

TRANSPOSED = 2**18
"""Multiplications up to which X Wᵀ in single precision is faster here: for more, PyTorch has the better kernel."""


def by_blas(bias: list[Array], a: Array, b: Array, out: Array, threads: int) -> Callable[[], object] | None:
    """Σ_k a_nk b_km, and a bias_m where there is one, as a call that writes to `out`; None for a shape to be left to PyTorch, which
    has so many threads."""
    (rows, terms), columns = a.shape, b.shape[1]
    size, thin = rows * terms * columns, min(rows, terms, columns) < THIN
    most = MOST if threads == 1 else THIN_MOST if thin else BLOCK
    if b.dtype == np.float32 and b.strides[0] < b.strides[1] and not thin:
        most = TRANSPOSED
    if size > most:
        return None
    # The rows of a block, or where there are more columns its columns.
    across = max(rows, columns)
    block = (BLOCK if min(rows, columns) > 1 else VECTOR) * across // max(size, 1)
    if block == 0 or (block == 1 and size > VECTOR * across):
        return None
    cuts = range(block, across, block)
    if not cuts:
        # The same product, called sooner, and for contiguous memory only.
        calls: list[Callable[[], object]] = [partial(np.dot if out.flags.c_contiguous else np.matmul, a, b, out)]
    elif rows >= columns:
        calls = [partial(np.matmul, *of) for of in zip(np.split(a, cuts), repeat(b), np.split(out, cuts), strict=False)]
    else:
        calls = [partial(np.matmul, *of) for of in zip(repeat(a), np.split(b, cuts, 1), np.split(out, cuts, 1), strict=False)]
    calls += [partial(np.add, out, one, out) for one in bias]
    return calls[0] if len(calls) == 1 else partial(_all, calls)


def _all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        call()
