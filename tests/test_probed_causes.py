"""Causes that are told in modules too large for every entry, from the entries that were looked at and from what was tried."""

from typing import Any

import pytest
import torch
from torch import nn

import nets
from tests.building import Made, Written, normal
from tests.wrong.causes import Redrawing, Rounded
from tests.wrong.modules import ByHand

SIZE = 72
"""Of a square weight, which is then more than a certificate of every entry takes."""


def by_hand(rule: Any, formula: Any, *shape: int, **weights: tuple[int, ...]) -> Made:
    generator = torch.Generator().manual_seed(0)
    return ByHand(formula, rule, **{name: normal(generator, *size) for name, size in weights.items()}), (normal(generator, *shape),)


def swapped(g: Any, x: Any, a: Any, b: Any) -> Any:
    return (g * (x @ b)) @ a.mT + (g * (x @ a)) @ b.mT, x.mT @ (g * (x @ a)), x.mT @ (g * (x @ b))


def conjugated() -> Made:
    """|z|², whose gradient is 2z."""
    generator = torch.Generator().manual_seed(0)
    z = torch.complex(normal(generator, SIZE, SIZE), normal(generator, SIZE, SIZE))
    return ByHand(lambda z: z.abs().square().sum(), lambda g, z: 2 * g * z.conj()), (z,)


CASES: dict[str, Made] = {
    "averaged over the batch: a constant factor 1/5, the number of samples": by_hand(
        lambda g, x, b: (g, g.mean(0)), lambda x, b: x + b, 5, SIZE**2, b=(SIZE**2,)
    ),
    "the gradients of a and b swapped": by_hand(
        swapped, lambda x, a, b: (x @ a) * (x @ b), 2, SIZE, a=(SIZE, SIZE), b=(SIZE, SIZE)
    ),
    "shifted by one along axis 1 of input": by_hand(lambda g, x: (2 * g * x).roll(1, 1), lambda x: x**2, SIZE, SIZE),
    "conjugate forgotten": conjugated(),
    "drawn again in the backward pass": (nn.Sequential(Written(lambda m, x: Redrawing.apply(x))), (torch.randn(SIZE, SIZE),)),
    "straight-through": (Written(lambda m, x: Rounded.apply(3 * x).tanh()), (torch.randn(SIZE, SIZE),)),
    "a detached term": (Written(lambda m, x: (x - x.mean(-1, keepdim=True).detach()) ** 3), (torch.randn(SIZE, SIZE),)),
}


@pytest.mark.parametrize("cause", list(CASES))
def test_the_cause_is_named(cause: str) -> None:
    module, inputs = CASES[cause]
    certificate = nets.verify(module, *inputs)
    assert certificate.verdict == "fail" and cause in certificate.sentence(), str(certificate)
