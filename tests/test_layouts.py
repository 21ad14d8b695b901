"""A recording leaves out copies of products that can be written to where the copy would bring them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nets.calculus.layers.attention import Attention
from nets.training.replay.recording import Recording, watched
from nets.training.replay.simplification import simplified

aten = torch.ops.aten


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A, B, EMPTY = numbers(2, 3, 5, 4), numbers(2, 3, 4, 6, seed=1), numbers(0)


def heads(product: Tensor) -> Tensor:
    return product.movedim(-3, -2).flatten(-2)


FUNCTIONS: dict[str, tuple[Callable[[], Tensor], int]] = {
    "joined heads": (lambda: heads(A @ B) + 1, 0),
    "joined heads of two products": (lambda: torch.cat([heads(A @ B), heads(A @ (B * 2))], -1) + 1, 0),
    "a product that is read twice": (lambda: heads(A @ B) * (A @ B).sum(), 1),
    "the same product twice": (lambda: torch.cat([heads(A @ B), heads(A @ B)], -1) + 1, 1),
    "a sum, which has a layout of its own": (lambda: heads((A @ B).cumsum(-1)) + 1, 1),
    "another precision": (lambda: torch.cat([A.round().float() @ B.round().float(), A], -1) + 1, 1),
    "with an empty vector": (lambda: torch.cat([EMPTY, A[0, 0] @ B[0, 0]]) + 1, 1),
    "the result itself": (lambda: heads(A @ B), 0),
    "written to": (lambda: heads((A @ B).mul_(2)) + 1, 1),
}


@pytest.mark.parametrize("case", list(FUNCTIONS))
def test_needed_copies_stay_and_the_numbers_are_right(case: str) -> None:
    function, copies = FUNCTIONS[case]
    watch, _ = watched(function)
    left = [one.function for one in simplified(watch.operations, watch.result).operations]
    assert left.count(aten.clone.default) + left.count(aten.cat.default) == copies
    recording, kept = Recording(watched(function)[0]), [t.clone() for t in (A, B)]
    try:
        for t, seed in ((A, 2), (B, 3)):
            t.copy_(numbers(*t.shape, seed=seed))
        recording.replay()
        torch.testing.assert_close(recording.result, function(), rtol=1e-13, atol=1e-13)
    finally:
        for t, old in zip((A, B), kept, strict=True):
            t.copy_(old)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("rotary", [None, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_has_the_numbers_of_its_formula(groups: int, rotary: float | None, dtype: torch.dtype) -> None:
    layer = Attention(4, groups, rotary=rotary)
    x = numbers(3, 7, (4 + 2 * groups) * 6).to(dtype)
    v = numbers(3, 7, 24, seed=1).to(dtype)

    def function() -> tuple[Tensor, Tensor]:
        y = layer(x)
        return y * 1, layer.pullback(v, x, y) * 1

    recording = Recording(watched(function)[0])
    x.copy_(numbers(*x.shape, seed=2))
    recording.replay()
    eps = 100 * torch.finfo(dtype).eps
    for found, expected in zip(recording.result, function(), strict=True):
        torch.testing.assert_close(found, expected, rtol=eps, atol=eps)
