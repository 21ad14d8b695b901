"""Faults of a linear layer's backward pass."""

from collections.abc import Callable

import torch
from torch import Tensor

from nets.records.reason import Reason
from tests.building import Made, Make, Written, normal
from tests.wrong.modules import ByHand, Rule
from tests.wrong.record import WrongBackward


def linear(rule: Rule, samples: int = 3, wide: int = 2, high: int = 3, scale: float = 1.0) -> Make:
    """Y = X Wᵀ + B, whose right rule is (g W, gᵀ X, Σ_n g_n)."""

    def make(generator: torch.Generator) -> Made:
        weight, bias = normal(generator, high, wide), normal(generator, high)
        return ByHand(lambda x, w, b: x @ w.T + b, rule, weight=weight, bias=bias), (
            scale * normal(generator, samples, wide),
        )

    return make


def weight_gradient(spoil: Callable[[Tensor], Tensor], wide: int = 2, high: int = 3, scale: float = 1.0) -> Make:
    """The same, where only the gradient of the weight is spoilt."""
    return linear(lambda g, x, w, b: (g @ w, spoil(g.T @ x), g.sum(0)), 3, wide, high, scale)


def rows(*factors: float) -> Tensor:
    return torch.tensor(factors, dtype=torch.float64)[:, None]


def one_entry(gradient: Tensor) -> Tensor:
    factor = torch.ones(gradient.shape, dtype=torch.float64)
    factor[2, 1] = 1.01
    return gradient * factor


LINEAR = [
    WrongBackward("linear: weight's sign", weight_gradient(torch.neg), Reason.WRONG_SIGN, "weight"),
    WrongBackward("linear: weight doubled", weight_gradient(lambda w: 2 * w), Reason.CONSTANT_FACTOR, "weight"),
    WrongBackward("linear: weight 0.1 % off", weight_gradient(lambda w: 1.001 * w), Reason.CONSTANT_FACTOR, "weight"),
    WrongBackward(
        "linear: weight doubled where its gradient is 1e-6",
        weight_gradient(lambda w: 2 * w, scale=1e-6),
        Reason.CONSTANT_FACTOR,
        "weight",
    ),
    WrongBackward("linear: weight transposed", weight_gradient(lambda w: w.T, 3, 3), Reason.TRANSPOSED, "weight"),
    WrongBackward("linear: weight zero", weight_gradient(torch.zeros_like), Reason.NO_GRADIENT, "weight"),
    WrongBackward("linear: a row zeroed", weight_gradient(lambda w: w * rows(1, 0, 1)), Reason.ONE_SLICE, "weight"),
    WrongBackward("linear: a row flipped", weight_gradient(lambda w: w * rows(1, -1, 1)), Reason.ONE_SLICE, "weight"),
    WrongBackward("linear: rows rolled", weight_gradient(lambda w: w.roll(1, 0)), None, "weight"),
    WrongBackward("linear: columns reversed", weight_gradient(lambda w: w.flip(1)), None, "weight"),
    WrongBackward("linear: one entry 1 % off", weight_gradient(one_entry), None, "weight"),
    WrongBackward("linear: in half the digits", weight_gradient(lambda w: w.bfloat16().double()), None, "weight"),
    WrongBackward("linear: clipped by norm", weight_gradient(lambda w: w / w.norm().clamp(min=1.0)), None, "weight"),
    WrongBackward(
        "linear: weight from the first sample",
        linear(lambda g, x, w, b: (g @ w, g[:1].T @ x[:1], g.sum(0))),
        Reason.SAMPLES_LEFT_OUT,
        "weight",
    ),
    WrongBackward(
        "linear: bias from the last sample",
        linear(lambda g, x, w, b: (g @ w, g.T @ x, g[-1])),
        Reason.SAMPLES_LEFT_OUT,
        "bias",
    ),
    WrongBackward(
        "linear: weight averaged", weight_gradient(lambda w: w / 3), Reason.AVERAGED_OVER_THE_BATCH, "weight"
    ),
    WrongBackward(
        "linear: bias averaged",
        linear(lambda g, x, w, b: (g @ w, g.T @ x, g.mean(0))),
        Reason.AVERAGED_OVER_THE_BATCH,
        "bias",
    ),
    WrongBackward(
        "linear: upstream ignored by the weight",
        linear(lambda g, x, w, b: (g @ w, torch.ones_like(g).T @ x, g.sum(0))),
        Reason.COTANGENT_IGNORED,
        "weight",
    ),
    WrongBackward(
        "linear: upstream ignored by the input",
        linear(lambda g, x, w, b: (torch.ones_like(g) @ w, g.T @ x, g.sum(0))),
        Reason.COTANGENT_IGNORED,
        "input",
    ),
    WrongBackward(
        "linear: upstream clamped to one",
        linear(lambda g, x, w, b: (g @ w, g.clamp(-1, 1).T @ x, g.sum(0))),
        parameter="weight",
    ),
    WrongBackward(
        "linear: upstream without sign", linear(lambda g, x, w, b: (g @ w, g.T @ x, g.abs().sum(0))), parameter="bias"
    ),
    WrongBackward(
        "linear: input's weight transposed",
        linear(lambda g, x, w, b: (g @ w.T, g.T @ x, g.sum(0)), 3, 3, 3),
        None,
        "input",
    ),
    WrongBackward(
        "linear: weight wrong where the input needs a gradient",
        linear(lambda g, x, w, b: (g @ w, g.T @ x * (2 if x.requires_grad else 1), g.sum(0))),
        Reason.CONSTANT_FACTOR,
        "weight",
    ),
    WrongBackward(
        "linear: bias forgotten where the input needs no gradient",
        linear(lambda g, x, w, b: (g @ w, g.T @ x, g.sum(0) * (1 if x.requires_grad else 0))),
        None,
        "bias",
        "parameters only",
    ),
    WrongBackward(
        "linear: bias detached",
        lambda r: (
            Written(lambda m, x: x @ m.weight.T + m.bias.detach(), weight=normal(r, 3, 2), bias=normal(r, 3)),
            (normal(r, 3, 2),),
        ),
        Reason.NO_GRADIENT,
        "bias",
    ),
    WrongBackward(
        "linear: weight through .data",
        lambda r: (
            Written(lambda m, x: x @ m.weight.data.T + m.bias, weight=normal(r, 3, 2), bias=normal(r, 3)),
            (normal(r, 3, 2),),
        ),
        Reason.NO_GRADIENT,
        "weight",
    ),
]
