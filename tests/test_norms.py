"""Norms of many tensors at once."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nets.calculus.norms import BLOCK, norms_of

SHAPES = [(3,), (2, 5), (), (1, 1), (BLOCK,), (BLOCK + 1,), (130, 129), (0,), (0, 4)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 4, len(SHAPES)])
def test_norms_follow_changes_of_the_numbers(dtype: torch.dtype, count: int) -> None:
    """To the rounding of a sum of squares."""
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.empty(shape, dtype=dtype) for shape in SHAPES[:count]]
    found = norms_of(tensors)
    assert found is not None
    for _ in range(2):
        for tensor in tensors:
            tensor.normal_(generator=generator)
        expected = [np.linalg.norm(tensor.double().numpy()) for tensor in tensors]
        assert found() == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 1e-14, abs=0)


@pytest.mark.parametrize(
    "tensor",
    [torch.rand(4, 3).mT, torch.rand(3).half() * 1e4, torch.rand(3).bfloat16()],
    ids=["transposed", "half", "bfloat16"],
)
def test_norms_of_tensors_that_are_not_contiguous_or_in_half_precision(tensor: Tensor) -> None:
    """The square of 1e4 is too large for float16."""
    found = norms_of([torch.rand(2), tensor])
    tensor.mul_(2)
    assert found()[1] == pytest.approx(np.linalg.norm(tensor.double().numpy()), rel=1e-6)
