"""Faults of one cause each, which a certificate must name."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nets.records.reason import Reason
from tests.building import Draw, Make, Written, between, normal, shaped
from tests.wrong.modules import ByHand
from tests.wrong.record import WrongBackward, of_input


def complex_normal(*shape: int) -> Draw:
    return lambda r: torch.complex(normal(r, *shape), normal(r, *shape))


class Overwriting(torch.autograd.Function):
    """sigmoid(a), whose backward pass writes its result over a."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return a.sigmoid()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors
        return a.data.copy_(upstream * a.sigmoid() * (1 - a.sigmoid()))


class ExpThenOverwriting(nn.Module):
    """sigmoid(exp(W x)): exp keeps its output for its backward pass, which the next backward pass writes over."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return Overwriting.apply((x @ self.weight.mT).exp())


class Redrawing(torch.autograd.Function):
    """Dropout, whose backward pass draws a mask of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) > 0.5)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return upstream * (torch.rand_like(upstream) > 0.5)


class Rounded(torch.autograd.Function):
    """round(x), differentiated as x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return upstream


def by_hand(formula: Any, rule: Any, **shapes: tuple[int, ...]) -> Make:
    """A formula of an input of shape (3, 4) and of parameters of these shapes."""
    return lambda r: (
        ByHand(formula, rule, **{name: normal(r, *shape) for name, shape in shapes.items()}),
        (normal(r, 3, 4),),
    )


def written(formula: Any, *points: Draw, **shapes: tuple[int, ...]) -> Make:
    return lambda r: (
        Written(formula, **{name: normal(r, *shape) for name, shape in shapes.items()}),
        tuple(point(r) for point in points),
    )


def positive_definite(r: torch.Generator) -> Tensor:
    a = normal(r, 4, 4)
    return a @ a.mT + 4 * torch.eye(4, dtype=torch.float64)


def sampled(distribution: Any) -> Make:
    """A draw of the distribution that `distribution` makes of the concentrations e^a x + 1."""
    return written(lambda m, x: distribution(m.a.exp() * x + 1).rsample(), between(0.5, 1.5, 3), a=())


def bilinear(g: Tensor, x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """The gradient by x is right; those by a and by b are exchanged."""
    return (g * (x @ b)) @ a.mT + (g * (x @ a)) @ b.mT, x.mT @ (g * (x @ a)), x.mT @ (g * (x @ b))


def fault(name: str, cause: Reason, make: Make, parameter: str | None = "input", fact: str = "") -> WrongBackward:
    return WrongBackward(name, make, cause, parameter, fact=fact)


CAUSES = [
    fault(
        "complex product: conjugate forgotten",
        Reason.NOT_CONJUGATED,
        of_input(lambda z, w: z * w, lambda g, z, w: (g * w.conj(), g * z), complex_normal(3), complex_normal(3)),
        "input[1]",
    ),
    fault(
        "squared modulus: conjugate forgotten",
        Reason.NOT_CONJUGATED,
        of_input(lambda z: (z * z.conj()).real, lambda g, z: 2 * g * z.conj(), complex_normal(4)),
    ),
    fault(
        "real scale of complex numbers: conjugate forgotten",
        Reason.NOT_CONJUGATED,
        of_input(lambda z, p: z * p, lambda g, z, p: (g * p, (g * z).real), complex_normal(4), shaped(4)),
        "input[1]",
    ),
    fault(
        "mean over an axis: summed",
        Reason.SUMMED_OVER_AN_AXIS,
        of_input(lambda x: x.mean(1).tanh(), lambda g, x: (g * (1 - x.mean(1).tanh() ** 2))[:, None].expand_as(x)),
        fact="axis 1 of input",
    ),
    fault(
        "mean over all: summed",
        Reason.SUMMED_OVER_AN_AXIS,
        of_input(lambda x: x.square().mean(), lambda g, x: g * 2 * x),
        fact="all of input",
    ),
    fault(
        "bias along an axis: averaged",
        Reason.AVERAGED_OVER_AN_AXIS,
        by_hand(lambda x, b: x + b[:, None], lambda g, x, b: (g, g.mean(1)), b=(3,)),
        "b",
        fact="axis 1 of input",
    ),
    fault(
        "dropout: mask drawn again",
        Reason.RANDOM_NUMBERS_DRAWN_AGAIN,
        written(lambda m, x: Redrawing.apply(x), shaped(4, 5)),
    ),
    fault(
        "sigmoid after exp: a saved tensor overwritten",
        Reason.SAVED_TENSOR_OVERWRITTEN,
        lambda r: (ExpThenOverwriting(normal(r, 2, 4)), (normal(r, 3, 4),)),
        None,
    ),
    fault(
        "bilinear: gradients of two weights swapped",
        Reason.SWAPPED,
        by_hand(lambda x, a, b: (x @ a) * (x @ b), bilinear, a=(4, 2), b=(4, 2)),
        None,
        fact="a and b",
    ),
    fault(
        "positions: shifted by one",
        Reason.SHIFTED,
        by_hand(
            lambda x, table: (x + table).tanh(),
            lambda g, x, t: (g * (s := 1 - (x + t).tanh() ** 2), (g * s).roll(1, 0)),
            table=(3, 4),
        ),
        "table",
    ),
    fault(
        "next token: shifted by one, the last left out",
        Reason.SHIFTED,
        of_input(lambda x: x.square(), lambda g, x: F.pad(2 * (g * x)[:, 1:], (0, 1))),
        fact="axis 1 of input",
    ),
    fault(
        "Cholesky: the gradient of a symmetric matrix, torch's own",
        Reason.SYMMETRIC_MATRIX,
        written(lambda m, a: torch.linalg.cholesky(a), positive_definite),
    ),
    fault(
        "eigenvalues: the gradient of a symmetric matrix, torch's own",
        Reason.SYMMETRIC_MATRIX,
        written(lambda m, a: torch.linalg.eigvalsh(a), positive_definite),
    ),
    *(
        fault(f"a draw of {name}, torch's own", Reason.IMPLICIT_REPARAMETRISATION, sampled(distribution), None)
        for name, distribution in {
            "Gamma": lambda c: torch.distributions.Gamma(c, torch.ones_like(c)),
            "Beta": lambda c: torch.distributions.Beta(c, c),
            "Dirichlet": torch.distributions.Dirichlet,
            "StudentT": lambda c: torch.distributions.StudentT(c + 3),
        }.items()
    ),
    fault(
        "rounded weights",
        Reason.STRAIGHT_THROUGH,
        written(lambda m, x: x @ Rounded.apply(3 * m.w), shaped(3, 4), w=(4, 2)),
        "w",
    ),
    fault(
        "fake quantization, torch's own",
        Reason.STRAIGHT_THROUGH,
        written(
            lambda m, x: torch.fake_quantize_per_tensor_affine(x.float(), 0.1, 0, -128, 127).double(), shaped(3, 4)
        ),
    ),
    fault(
        "a hard sample, torch's own",
        Reason.STRAIGHT_THROUGH_A_PART,
        written(lambda m, x: F.gumbel_softmax(x, hard=True), shaped(3, 4)),
    ),
    fault(
        "a mean that is detached",
        Reason.DETACHED,
        written(lambda m, x: (x - x.mean(-1, keepdim=True).detach()) ** 3, shaped(3, 4)),
    ),
]
