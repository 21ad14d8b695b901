"""Modules whose second derivatives are right. `GradientOf` in tests/second_order.py is what a plain user would
differentiate."""

import torch
import torch.nn.functional as F
from torch import Tensor

import nets
from tests.building import Draw, Make, Written, between, built, fixed, shaped
from tests.wrong.modules import ByHand


def of(formula: object, *points: Draw) -> Make:
    """A formula of its inputs alone."""
    return built(lambda: Written(lambda _, *inputs: formula(*inputs)), *points)  # type: ignore[operator]


def _regular(generator: torch.Generator) -> Tensor:
    """A matrix far from a singular one."""
    return torch.randn(3, 3, generator=generator, dtype=torch.float64) / 3 + torch.eye(3, dtype=torch.float64)


def _requiring(draw: Draw) -> Draw:
    return lambda generator: draw(generator).requires_grad_()


SECOND_ORDER: dict[str, Make] = {
    "softsign": of(F.softsign, shaped(2, 3)),
    "x |x|": of(lambda x: x * x.abs(), shaped(2, 3)),
    "L1 norm squared": of(lambda x: x.norm(1) ** 2, shaped(4)),
    "normalisation by the L1 norm": of(lambda x: F.normalize(x, p=1.0), shaped(2, 3)),
    "Bessel function i0e": of(torch.special.i0e, between(0.5, 2, 4)),
    "determinant": of(torch.linalg.det, _regular),
    "log of the determinant": of(lambda a: torch.linalg.slogdet(a)[1], _regular),
    "inverse": of(torch.linalg.inv, _regular),
    "solution of linear equations": of(torch.linalg.solve, _regular, shaped(3)),
    "solution of tensor equations": of(
        lambda a, b: torch.linalg.tensorsolve(a.reshape(3, 1, 3), b), _regular, shaped(3, 1)
    ),
    "cumulative product with a zero": of(lambda x: x.cumprod(0), fixed(0.0, 2.0, 3.0)),
    "output in single precision": of(lambda x: x.tanh().float(), shaped(2, 3)),
    "loss with targets": of(F.soft_margin_loss, _requiring(shaped(4)), fixed(1.0, -1.0, 1.0, -1.0)),
    "logarithm of cumulative sums of exponentials": of(lambda x: x.logcumsumexp(-1), shaped(4)),
    "softmax over one logit": of(lambda x: x.softmax(-1), shaped(2, 1)),
    "rectified network of small weights": lambda r: (
        nets.mlp([3, 4, 2], activation="relu", gain=0.01, generator=r).double(),
        (shaped(2, 3)(r),),
    ),
    "sine by hand": built(lambda: ByHand(lambda x: x.sin(), lambda g, x: g * x.cos()), shaped(2, 3)),
}
