"""Matrix products by NumPy's BLAS library, for the shapes in which it is faster than PyTorch's.

On an AMD processor it takes a quarter of the time for a product of 64×1,024 and 1,024×10, and two thirds for a product
of a few hundred thousand multiplications; for a small product the call of PyTorch costs more than the product. A large
product is cut into blocks of rows or columns, so that each has a shape with a fast kernel and runs on one thread.
"""

from collections.abc import Callable
from functools import partial
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

BLOCK = 2**19 - 1
"""Multiplications in a block of two matrices. OpenBLAS uses one thread for every 2¹⁸ of them, rounded down."""

VECTOR = 2**18
"""Multiplications in a block of a matrix and a vector. OpenBLAS uses other threads from 460,800 on."""

MOST_ONE_THREAD = 2**24
"""Multiplications up to which a product is computed here if there is one thread."""

THIN = 32
"""A product with fewer rows, columns or terms of a sum is thin."""

MOST_THIN = 2**22
"""Multiplications up to which a thin product is computed here if there are several threads: they would wait for each
other."""

LEAST_BLOCK = 8
"""Rows or columns of a block below which PyTorch has the better kernel, unless the product is thin."""

MOST_TRANSPOSED = 2**18
"""Multiplications up to which X Wᵀ in float32 is computed here: for more, PyTorch has the better kernel."""


def by_blas(bias: list[Array], a: Array, b: Array, out: Array, threads: int) -> Callable[[], object] | None:
    """A call that writes Σ_k a_nk b_km, plus bias_m where there is one, to `out`; None for a shape that PyTorch
    computes faster.

    Args:
        bias: one vector, or none.
        a: shape (N, K).
        b: shape (K, M).
        out: shape (N, M).
        threads: the number of threads that PyTorch has.
    """
    (rows, terms), columns = a.shape, b.shape[1]
    size, thin = rows * terms * columns, min(rows, terms, columns) < THIN
    most = MOST_ONE_THREAD if threads == 1 else MOST_THIN if thin else BLOCK
    if b.dtype == np.float32 and b.strides[0] < b.strides[1] and not thin:
        most = MOST_TRANSPOSED
    if size > most:
        return None
    # Rows of a block, or columns where there are more of these.
    across = max(rows, columns)
    block = (BLOCK if min(rows, columns) > 1 else VECTOR) * across // max(size, 1)
    if block == 0 or (block == 1 and size > VECTOR * across) or (not thin and block < min(LEAST_BLOCK, across)):
        return None
    cuts = range(block, across, block)
    if not cuts:
        # np.dot is the same product with a cheaper call, for contiguous memory only.
        calls: list[Callable[[], object]] = [partial(np.dot if out.flags.c_contiguous else np.matmul, a, b, out)]
    elif rows >= columns:
        calls = [partial(np.matmul, *of) for of in zip(np.split(a, cuts), repeat(b), np.split(out, cuts), strict=False)]
    else:
        calls = [
            partial(np.matmul, *of) for of in zip(repeat(a), np.split(b, cuts, 1), np.split(out, cuts, 1), strict=False)
        ]
    calls += [partial(np.add, out, one, out) for one in bias]
    return calls[0] if len(calls) == 1 else partial(_all, calls)


def batched(a: Array, b: Array, out: Array, threads: int) -> Callable[[], object] | None:
    """A call that writes Σ_k a_…nk b_…km to `out`, one product after the other, without a copy of an operand.

    None where one of the products is large enough for other threads, or where PyTorch has several threads that can
    share the products.

    Args:
        a, b: shapes (…, N, K) and (…, K, M), whose axes in front are broadcast.
        out: shape (…, N, M).
        threads: the number of threads that PyTorch has.
    """
    size = a.shape[-2] * a.shape[-1] * b.shape[-1]
    if size > BLOCK or not all(map(_by_rows_or_columns, (a, b, out))):
        return None
    if threads > 1 and size * (out.size // max(1, a.shape[-2] * b.shape[-1])) > MOST_THIN:
        return None
    return partial(np.matmul, a, b, out)


def _by_rows_or_columns(a: Array) -> bool:
    """Whether the rows of each matrix, or its columns, are contiguous, as a BLAS library needs them."""
    (rows, columns), (down, right) = a.shape[-2:], (stride // a.itemsize for stride in a.strides[-2:])
    return (right == 1 and down >= columns) or (down == 1 and right >= rows)


def _all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        call()
