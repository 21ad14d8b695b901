"""Faults of faint rows, and faults beside a kink that is nearer than a fixed step."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.building import Made, normal, shaped
from tests.right.scales import nearly_tied, with_a_row_of_zeros
from tests.wrong.modules import ByHand
from tests.wrong.record import WrongBackward, of_input

ONE_PER_CENT = torch.tensor([[1.0], [1.0], [1.01]], dtype=torch.float64)


def _normalized(g: Tensor, x: Tensor) -> Tensor:
    """The right rule beside a row of zeros, but for 1 % of the last sample."""
    size = x.norm(dim=-1, keepdim=True)
    y = x / size.clamp(min=1e-12)
    along = (size > 1e-12) * y * (g * y).sum(-1, keepdim=True)
    return (g - along) / size.clamp(min=1e-12) * ONE_PER_CENT


def _faint(g: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Y = S ⊙ (X W), whose last sample, of a millionth of the others, is 1 % off in the gradient by X."""
    return (g * FAINT) @ w.T * ONE_PER_CENT, x.T @ (g * FAINT)


FAINT = torch.tensor([[1.0], [1.0], [1e-6]], dtype=torch.float64)


def _small(rule: Callable[[Tensor], Tensor]) -> Callable[[torch.Generator], Made]:
    """max(X W, 0) V with weights of 1e-4, whose gradient by W is spoilt."""

    def backward(g: Tensor, x: Tensor, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = x @ w
        inner = (g @ v.T) * (z > 0)
        return inner @ w.T, rule(x.T @ inner), z.relu().T @ g

    return lambda r: (
        ByHand(
            lambda x, w, v: (x @ w).relu() @ v, backward, weight=1e-4 * normal(r, 3, 4), last=1e-4 * normal(r, 4, 2)
        ),
        (normal(r, 4, 3),),
    )


def _pooled(g: Tensor, x: Tensor) -> Tensor:
    """To the smaller of each pair."""
    pairs = x.unflatten(-1, (-1, 2))
    return (g[..., None] * (pairs == pairs.amin(-1, keepdim=True))).flatten(-2)


def _rows(factor: Any) -> Callable[[Tensor], Tensor]:
    return lambda w: w * torch.tensor([[1.0], [factor], [1.0]], dtype=torch.float64)


SCALES = [
    WrongBackward(
        "normalize: 1 % off beside a row of zeros",
        lambda r: (ByHand(lambda x: F.normalize(x, dim=-1), _normalized), (with_a_row_of_zeros(r),)),
        None,
        "input",
    ),
    WrongBackward(
        "a sample of a millionth of the others: 1 % off",
        lambda r: (ByHand(lambda x, w: x @ w * FAINT, _faint, weight=normal(r, 3, 2)), (normal(r, 3, 3),)),
        None,
        "input",
    ),
    WrongBackward("rectified, weights of 1e-4: a row zeroed", _small(_rows(0.0)), None, "weight", step=1e-9),
    WrongBackward("rectified, weights of 1e-4: a row flipped", _small(_rows(-1.0)), None, "weight", step=1e-9),
    WrongBackward(
        "leaky relu of 1e-10: one where negative",
        of_input(F.leaky_relu, lambda g, z: g, shaped(4, 10, scale=1e-10)),
        None,
        "input",
        step=1e-15,
    ),
    WrongBackward(
        "soft shrink at 1e-9: one within",
        of_input(lambda z: F.softshrink(z, 1e-9), lambda g, z: g, shaped(4, 6, scale=2e-9)),
        None,
        "input",
        step=1e-14,
    ),
    WrongBackward(
        "max pool, nearly tied: to the smaller",
        lambda r: (ByHand(nn.MaxPool1d(2), _pooled), (nearly_tied(r),)),
        None,
        "input",
        step=1e-10,
    ),
]
