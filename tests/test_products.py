"""Products and sums by NumPy's BLAS library equal PyTorch's for every shape and layout."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nets.training.replay.products import BLOCK, LEAST_BLOCK, MOST_ONE_THREAD, MOST_THIN, MOST_TRANSPOSED, by_blas
from nets.training.replay.recording import Recording, watched

SHAPES = {
    "small": (7, 5, 9),
    "of one entry": (1, 1, 1),
    "of nothing": (4, 0, 3),
    "thin, in blocks of columns": (16, 64, 1030),
    "thin, in blocks of rows": (1030, 64, 16),
    "in blocks of rows": (301, 64, 64),
    "a matrix and a vector, in blocks": (1000, 3000, 1),
    "a vector and a matrix, in blocks": (1, 3000, 1000),
    "in blocks of one row": (5, 8000, 32),
}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "row by row": lambda t: t.contiguous(),
    "column by column": lambda t: t.mT.contiguous().mT,
    "with gaps": lambda t: torch.cat([t, t[:, :1]], 1)[:, : t.shape[1]],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_has_the_right_entries(shape: str, layout: str, dtype: torch.dtype, biased: bool) -> None:
    """To 2 K u Σ_k |a_nk b_km|, twice the bound on a sum of K terms in any order (Higham, Accuracy and Stability,
    section 3.1)."""
    rows, terms, columns = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(rows, terms, generator=generator), torch.randn(terms, columns, generator=generator)
    bias, out = torch.randn(columns, generator=generator), torch.full((rows, columns), torch.nan)
    a, b, out = (LAYOUTS[layout](t.to(dtype)) for t in (a, b, out))
    bias = bias.to(dtype)
    call = by_blas([bias.numpy()] if biased else [], a.numpy(), b.numpy(), out.numpy(), threads=1)
    if (shape, layout, dtype) == ("in blocks of rows", "column by column", torch.float32):
        assert call is None  # see MOST_TRANSPOSED
        return
    assert call is not None
    for _ in range(2):
        call()
    exact = a.double() @ b.double() + (bias.double() if biased else 0)
    bound = a.double().abs() @ b.double().abs() + bias.double().abs()
    assert bool(((out.double() - exact).abs() <= 2 * (terms + 1) * torch.finfo(dtype).eps / 2 * bound).all())


def test_shapes_that_pytorch_computes_faster_are_left_to_it() -> None:
    def taken(rows: int, terms: int, columns: int, threads: int, transposed: bool = False) -> bool:
        a, out = np.ones((rows, terms), np.float32), np.empty((rows, columns), np.float32)
        b = np.ones((columns, terms), np.float32).T if transposed else np.ones((terms, columns), np.float32)
        return by_blas([], a, b, out, threads) is not None

    large = (MOST_ONE_THREAD // 64 // 64, 64, 64)
    assert taken(*large, threads=1) and not taken(large[0] + 1, *large[1:], threads=1)
    assert taken(64, BLOCK // 64 // LEAST_BLOCK, 64, threads=1)
    assert not taken(64, BLOCK // 64 // LEAST_BLOCK + 2, 64, threads=1)  # blocks of fewer rows
    assert not taken(*large, threads=2) and taken(64, BLOCK // 64 // 64, 64, threads=2)
    assert not taken(33, 2**14, 31, threads=1)  # a row would be a vector of half a million multiplications
    thin = (64, MOST_THIN // 64 // 16, 16)
    assert taken(*thin, threads=2) and not taken(65, *thin[1:], threads=2)
    turned = (64, MOST_TRANSPOSED // 64 // 64, 64)
    assert taken(*turned, threads=1, transposed=True) and not taken(65, *turned[1:], threads=1, transposed=True)


@pytest.mark.parametrize("shape", [*SHAPES.values(), (3, 700, 700), (500, 1000, 1), (1, 1000, 1000), (1, 2048, 2)])
def test_no_block_is_large_enough_for_a_second_thread(shape: tuple[int, int, int]) -> None:
    """OpenBLAS 0.3.31 uses one thread below 2¹⁹ multiplications of matrices, and below 460,800 with a vector."""
    rows, terms, columns = shape
    call = by_blas([], np.ones((rows, terms)), np.ones((terms, columns)), np.empty((rows, columns)), threads=1)
    assert isinstance(call, functools.partial)
    pieces = call.args[0] if isinstance(call.args[0], list) else [call]
    sizes = [(len(a), a.shape[1], b.shape[1]) for a, b, _ in (piece.args for piece in pieces)]
    assert sum(r * t * c for r, t, c in sizes) == rows * terms * columns
    assert all(r * t * c < (2**19 if min(r, c) > 1 else 460_800) for r, t, c in sizes)


REDUCED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda t: t.mean(),
    "sum of each column": lambda t: t.sum(0),
    "sum of each column, from the end": lambda t: t.sum(-2),
    "sum of each row": lambda t: t.sum(1),
    "sum of all": lambda t: t.sum((0, 1)),
    "norm of each row": lambda t: torch.linalg.vector_norm(t, dim=-1),
    "norm of each column": lambda t: torch.linalg.vector_norm(t, dim=0),
    "norm of all": lambda t: torch.linalg.vector_norm(t),
    "cubic norm of all": lambda t: torch.linalg.vector_norm(t, 3),
    "matrix norm": lambda t: torch.linalg.norm(t) * t.norm(),
    "mean over no named axis, which stays": lambda t: torch.mean(t, None, True),
    "sum over no named axis, which stays": lambda t: torch.sum(t, None, True),
    "sum of absolute values": lambda t: torch.linalg.vector_norm(t, 1, dim=-1),
    "square": lambda t: t**2,
    "cube": lambda t: t**3,
    "one minus": lambda t: 1 - t,
    "total": lambda t: t.sum(),
    "entries above a half": lambda t: (t > 0.5).sum().to(t.dtype),
    "times a mask": lambda t: t * (t > 0.5),
    "divided by a count": lambda t: t / (t > 0.1).sum().clamp(min=1),
    "share of those from a half up": lambda t: (t >= 0.5) / (t >= 0.5).sum(dtype=t.dtype).clamp(min=1),
    "at least a tenth, at most a half, between": lambda t: t.clamp(0.1) + t.clamp(max=0.5) + t.clamp(0.2, 0.4),
    "whole numbers from two up": lambda t: (10 * t).long().clamp(2) * ((10 * t).long() >= 2) * t,
    "minus ones": lambda t: torch.full_like(t, -1) + t,
    "zeros and ones": lambda t: torch.zeros_like(t) + torch.ones_like(t),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("shape", [(6, 4), (300, 3), (1, 5), (3, 1)], ids=str)
@pytest.mark.parametrize("operation", list(REDUCED))
def test_a_recorded_sum_has_the_right_entries(
    operation: str, shape: tuple[int, int], layout: str, dtype: torch.dtype
) -> None:
    """Of positive numbers, to 2 K u of itself."""
    generator = torch.Generator().manual_seed(0)
    t = LAYOUTS[layout](torch.rand(shape, generator=generator).to(dtype))
    recording = Recording(watched(lambda: REDUCED[operation](t))[0])
    t.copy_(torch.rand(shape, generator=generator))
    recording.replay()
    tolerance = t.numel() * torch.finfo(dtype).eps
    torch.testing.assert_close(
        recording.result.double(), REDUCED[operation](t.double()), rtol=tolerance, atol=tolerance
    )


def test_many_numbers_are_not_added_one_after_the_other() -> None:
    """PyTorch adds in pairs: 80,000 numbers to 2 u, where one after the other the roundings come to a hundred."""
    t = torch.rand(80_000, 3, generator=torch.Generator().manual_seed(0))
    exact = t.double().sum(0)
    recording = Recording(watched(lambda: t.sum(0))[0])
    recording.replay()
    assert ((recording.result.double() - exact).abs() / exact).max() <= 8 * torch.finfo(torch.float32).eps / 2
