"""Faults of formulas without parameters, and of products, sums and choices."""

import torch
import torch.nn.functional as F

from nets.records.reason import Reason
from tests.building import Written, apart, fixed, normal, shaped, spread
from tests.wrong.modules import ByHand, gelu_slope, max_pool
from tests.wrong.record import WrongBackward, of_input

POINTWISE = [
    WrongBackward("tanh: square forgotten", of_input(torch.tanh, lambda g, z: g * (1 - z.tanh())), None, "input"),
    WrongBackward("tanh: of the input, 1 − Z²", of_input(torch.tanh, lambda g, z: g * (1 - z * z)), None, "input"),
    WrongBackward(
        "tanh: zero in the tail",
        of_input(torch.tanh, lambda g, z: g * (1 - z.tanh() ** 2) * (z.abs() < 2), spread(5, 6)),
        None,
        "input",
    ),
    WrongBackward(
        "tanh: zero where saturated, slope 6e-8",
        of_input(torch.tanh, lambda g, z: 0 * g, lambda r: 9 + 0.1 * normal(r, 3, 2)),
        Reason.NO_GRADIENT,
        "input",
    ),
    WrongBackward(
        "leaky relu: zero where negative",
        of_input(lambda z: F.leaky_relu(z, 0.2), lambda g, z: g * (z > 0), spread(3, 4)),
        None,
        "input",
    ),
    WrongBackward("elu: one where negative", of_input(F.elu, lambda g, z: g, spread(3, 4)), None, "input"),
    WrongBackward("sigmoid: Y for Y (1 − Y)", of_input(torch.sigmoid, lambda g, z: g * z.sigmoid()), None, "input"),
    WrongBackward(
        "gelu: slope of its tanh approximation", of_input(F.gelu, lambda g, z: g * gelu_slope(z, "tanh")), None, "input"
    ),
    WrongBackward(
        "sqrt: half forgotten",
        of_input(torch.sqrt, lambda g, z: g / z.sqrt(), lambda r: 0.5 + normal(r, 3, 4).abs()),
        Reason.CONSTANT_FACTOR,
        "input",
    ),
    WrongBackward(
        "clamp: one outside", of_input(lambda z: z.clamp(-1.02, 1.02), lambda g, z: g, spread(3, 5)), None, "input"
    ),
    WrongBackward(
        "round: straight through",
        lambda r: (Written(lambda m, z: z + (z.round() - z).detach()), (0.3 * normal(r, 3, 4).tanh() + 2,)),
        None,
        "input",
    ),
    WrongBackward(
        "sign of the weight: straight through",
        lambda r: (
            Written(lambda m, x: x @ (m.weight + (m.weight.sign() - m.weight).detach()), weight=apart(r, 3, 2)),
            (normal(r, 4, 3),),
        ),
        None,
        "weight",
    ),
    WrongBackward(
        "division: square forgotten",
        of_input(torch.div, lambda g, a, b: (g / b, -g * a / b), shaped(3, 4), lambda r: 1.5 + normal(r, 3, 4).abs()),
        parameter="input[1]",
    ),
]

SHAPING = [
    WrongBackward(
        "product: B's gradient transposed",
        of_input(torch.matmul, lambda g, a, b: (g @ b.T, g.T @ a), shaped(3, 3), shaped(3, 3)),
        parameter="input[1]",
    ),
    WrongBackward(
        "bilinear: second input's gradient from itself",
        lambda r: (
            ByHand(
                lambda a, b, w: torch.einsum("ni,kij,nj->nk", a, w, b),
                lambda g, a, b, w: (
                    torch.einsum("nk,kij,nj->ni", g, w, b),
                    torch.einsum("nk,kij,ni->nj", g, w, b),
                    torch.einsum("nk,ni,nj->kij", g, a, b),
                ),
                weight=normal(r, 2, 3, 3),
            ),
            (normal(r, 4, 3), normal(r, 4, 3)),
        ),
        parameter="input[1]",
    ),
    WrongBackward("cumsum: not reversed", of_input(lambda x: x.cumsum(-1), lambda g, x: g.cumsum(-1)), None, "input"),
    WrongBackward(
        "logsumexp: uniform",
        of_input(lambda x: x.logsumexp(-1), lambda g, x: (g[:, None] / 4).expand(3, 4)),
        None,
        "input",
    ),
    WrongBackward(
        "max-pool: to the first of each window",
        of_input(max_pool, lambda g, x: torch.stack([g, 0 * g], -1).flatten(-2), spread(3, 4)),
        None,
        "input",
    ),
    WrongBackward(
        "max-pool: spread over the window",
        of_input(max_pool, lambda g, x: g.repeat_interleave(2, -1) / 2, spread(3, 4)),
        None,
        "input",
    ),
    WrongBackward(
        "sort: not put back in order",
        of_input(lambda x: x.sort(-1).values, lambda g, x: g, spread(3, 4)),
        None,
        "input",
    ),
    WrongBackward(
        "gather: repeated index not added up",
        of_input(
            lambda x, index: x.gather(1, index),
            lambda g, x, index: (torch.zeros_like(x).scatter(1, index, g), None),
            shaped(3, 4),
            fixed([1, 1, 2], [0, 3, 0], [2, 2, 2]),
        ),
        parameter="input[0]",
    ),
    WrongBackward(
        "scatter: overwritten entries keep their gradient",
        of_input(
            lambda x, source, index: x.scatter(1, index, source),
            lambda g, x, source, index: (g, g.gather(1, index), None),
            shaped(3, 4),
            shaped(3, 2),
            fixed([0, 1], [3, 2], [1, 3]),
        ),
        parameter="input[0]",
    ),
    WrongBackward(
        "scale per channel: not summed over positions",
        lambda r: (
            ByHand(
                lambda x, s: x * s[:, None], lambda g, x, s: (g * s[:, None], (g * x).sum(0)[:, 0]), scale=normal(r, 3)
            ),
            (normal(r, 2, 3, 4),),
        ),
        None,
        "scale",
    ),
    WrongBackward(
        "one scale for all: mean for sum",
        lambda r: (
            ByHand(lambda x, s: x * s, lambda g, x, s: (g * s, (g * x).mean()), scale=normal(r)),
            (normal(r, 3, 4),),
        ),
        Reason.AVERAGED_OVER_AN_AXIS,
        "scale",
    ),
    WrongBackward(
        "two outputs: upstream of the second ignored",
        lambda r: (
            ByHand(
                lambda x, w: (x * w, (x * w).sin()), lambda g, h, x, w: (g * w, (g * x).sum(0)), weight=normal(r, 4)
            ),
            (normal(r, 3, 4),),
        ),
    ),
    WrongBackward(
        "complex: conjugate forgotten",
        lambda r: (
            ByHand(
                lambda x, w: torch.view_as_real(x * w),
                lambda g, x, w: (torch.view_as_complex(g) * w.conj(), (torch.view_as_complex(g) * x).sum(0)),
                weight=torch.complex(normal(r, 3), normal(r, 3)),
            ),
            (torch.complex(normal(r, 2, 3), normal(r, 2, 3)),),
        ),
        None,
        "weight",
    ),
    WrongBackward(
        "complex: imaginary part forgotten",
        lambda r: (
            ByHand(
                lambda x, w: x * w.abs(),
                lambda g, x, w: (g * w.abs(), (g * x).sum(0) * w.sgn().real),
                weight=torch.complex(normal(r, 3), normal(r, 3)),
            ),
            (normal(r, 2, 3),),
        ),
        None,
        "weight",
    ),
]
