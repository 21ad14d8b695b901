"""Mistakes that are named in modules too large for every entry, by the measured entries or by trying the mistake."""

from typing import Any

import pytest
import torch
from torch import nn

import nets
from nets.records.reason import Reason
from tests.building import Made, Written, normal
from tests.wrong.causes import Redrawing, Rounded
from tests.wrong.modules import ByHand

SIZE = 72
"""Of a square weight: more numbers than are checked entry by entry."""


def by_hand(rule: Any, formula: Any, *shape: int, **weights: tuple[int, ...]) -> Made:
    generator = torch.Generator().manual_seed(0)
    return ByHand(formula, rule, **{name: normal(generator, *size) for name, size in weights.items()}), (
        normal(generator, *shape),
    )


def swapped(g: Any, x: Any, a: Any, b: Any) -> Any:
    return (g * (x @ b)) @ a.mT + (g * (x @ a)) @ b.mT, x.mT @ (g * (x @ a)), x.mT @ (g * (x @ b))


def conjugated() -> Made:
    """|z|², whose gradient is 2z."""
    generator = torch.Generator().manual_seed(0)
    z = torch.complex(normal(generator, SIZE, SIZE), normal(generator, SIZE, SIZE))
    return ByHand(lambda z: z.abs().square().sum(), lambda g, z: 2 * g * z.conj()), (z,)


CASES: dict[Reason, tuple[str, Made]] = {
    Reason.AVERAGED_OVER_THE_BATCH: (
        "1/5",
        by_hand(lambda g, x, b: (g, g.mean(0)), lambda x, b: x + b, 5, SIZE**2, b=(SIZE**2,)),
    ),
    Reason.SWAPPED: (
        "a and b",
        by_hand(swapped, lambda x, a, b: (x @ a) * (x @ b), 2, SIZE, a=(SIZE, SIZE), b=(SIZE, SIZE)),
    ),
    Reason.SHIFTED: ("axis 1 of input", by_hand(lambda g, x: (2 * g * x).roll(1, 1), lambda x: x**2, SIZE, SIZE)),
    Reason.NOT_CONJUGATED: ("", conjugated()),
    Reason.RANDOM_NUMBERS_DRAWN_AGAIN: (
        "",
        (nn.Sequential(Written(lambda m, x: Redrawing.apply(x))), (torch.randn(SIZE, SIZE),)),
    ),
    Reason.STRAIGHT_THROUGH: (
        "intended=",
        (Written(lambda m, x: Rounded.apply(3 * x).tanh()), (torch.randn(SIZE, SIZE),)),
    ),
    Reason.DETACHED: (
        "",
        (Written(lambda m, x: (x - x.mean(-1, keepdim=True).detach()) ** 3), (torch.randn(SIZE, SIZE),)),
    ),
}


@pytest.mark.parametrize("reason", list(CASES), ids=str)
def test_the_mistake_is_named(reason: Reason) -> None:
    fact, (module, inputs) = CASES[reason]
    certificate = nets.verify(module, *inputs)
    assert certificate.verdict == "fail" and certificate.decisive.reason is reason, str(certificate)
    assert fact in certificate.sentence()
