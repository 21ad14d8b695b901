"""The table of wrong backward passes, which a checker of gradients has to fail, each of them, at every seed.

test_checker.py proves without the checker that each fault is there: its own differences disagree by a tenth of a thousandth
of the gradient at least. `g` is the upstream gradient throughout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.wrong_modules import (
    Attention,
    ByHand,
    Cached,
    Clipped,
    GradWritten,
    Hooked,
    Normalized,
    Recurrent,
    Rule,
    Stateful,
    Tied,
    WrongForwardMode,
    Written,
    conv,
    conv_weight,
    gelu_slope,
    max_pool,
    softmax_error,
)

Made = tuple[nn.Module, tuple[Tensor, ...]]
Make = Callable[[torch.Generator], Made]
Cause = Literal[
    "wrong sign",
    "constant factor",
    "transposed",
    "zero",
    "not summed over the batch",
    "averaged over the batch",
    "upstream gradient ignored",
    "one row",
    "stateful",
]
Shows = Literal["backward", "later call", "parameters only", "accumulation", "forward mode"]


@dataclass(frozen=True)
class WrongBackward:
    """A module with the right values and a wrong gradient, and where that gradient can be seen to be wrong.

    Attributes:
        name: what is wrong, in words.
        make: the module and its inputs, in float64, drawn from a generator.
        cause: the pattern of the fault, where there is a plain one that a report could name.
        parameter: whose gradient is wrong, as in `named_parameters()`, or 'input'; None where it is more than one.
        shows: 'backward' in any backward pass; 'later call' in that of a later call, after one at another point;
            'parameters only' where the inputs need no gradient; 'accumulation' in .grad after two backward passes;
            'forward mode' in the product of the Jacobian with a direction, while the backward pass is right.
    """

    name: str
    make: Make
    cause: Cause | None = None
    parameter: str | None = None
    shows: Shows = "backward"

    def __str__(self) -> str:
        return self.name


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def apart(generator: torch.Generator, *shape: int) -> Tensor:
    """Numbers of either sign, at least 0.1 away from zero and from one another, the largest about 0.1 · their count."""
    count = torch.Size(shape).numel()
    ranks = torch.randperm(count, generator=generator).double() - (count // 2) + 0.5
    return (0.2 * ranks + 0.05 * torch.rand(count, generator=generator, dtype=torch.float64)).reshape(shape)


def linear(rule: Rule, samples: int = 4, wide: int = 3, high: int = 5, scale: float = 1.0) -> Make:
    """Y = X Wᵀ + B, whose right rule is (g W, gᵀ X, Σ_n g_n)."""

    def make(generator: torch.Generator) -> Made:
        weight, bias = normal(generator, high, wide), normal(generator, high)
        return ByHand(lambda x, w, b: x @ w.T + b, rule, weight=weight, bias=bias), (
            scale * normal(generator, samples, wide),
        )

    return make


def weight_gradient(spoil: Callable[[Tensor], Tensor], wide: int = 3, high: int = 5, scale: float = 1.0) -> Make:
    """The same, where only the gradient of the weight is spoilt."""
    return linear(lambda g, x, w, b: (g @ w, spoil(g.T @ x), g.sum(0)), 4, wide, high, scale)


def of_input(formula: Callable[..., Tensor], rule: Rule, *points: Callable[[torch.Generator], Tensor]) -> Make:
    """A formula without parameters, at the given points: by default one of shape (3, 4)."""
    drawn = points or (lambda generator: normal(generator, 3, 4),)
    return lambda generator: (ByHand(formula, rule), tuple(point(generator) for point in drawn))


def shaped(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: normal(generator, *shape)


def spread(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: apart(generator, *shape)


def rows(*factors: float) -> Tensor:
    return torch.tensor(factors, dtype=torch.float64)[:, None]


def one_entry(gradient: Tensor) -> Tensor:
    factor = torch.ones(gradient.shape, dtype=torch.float64)
    factor[2, 1] = 1.01
    return gradient * factor


def repeated(generator: torch.Generator) -> Tensor:
    return torch.tensor([1, 4, 1, 0, 1, 4])


def labels(generator: torch.Generator) -> Tensor:
    return torch.tensor([2, 0, 3])


LINEAR = [
    WrongBackward("linear: weight's sign", weight_gradient(torch.neg), "wrong sign", "weight"),
    WrongBackward("linear: weight doubled", weight_gradient(lambda w: 2 * w), "constant factor", "weight"),
    WrongBackward("linear: weight 0.1 % off", weight_gradient(lambda w: 1.001 * w), "constant factor", "weight"),
    WrongBackward(
        "linear: weight doubled where its gradient is 1e-6",
        weight_gradient(lambda w: 2 * w, scale=1e-6),
        "constant factor",
        "weight",
    ),
    WrongBackward("linear: weight transposed", weight_gradient(lambda w: w.T, 4, 4), "transposed", "weight"),
    WrongBackward("linear: weight zero", weight_gradient(torch.zeros_like), "zero", "weight"),
    WrongBackward("linear: a row zeroed", weight_gradient(lambda w: w * rows(1, 1, 0, 1, 1)), "one row", "weight"),
    WrongBackward("linear: a row flipped", weight_gradient(lambda w: w * rows(1, -1, 1, 1, 1)), "one row", "weight"),
    WrongBackward("linear: rows rolled", weight_gradient(lambda w: w.roll(1, 0)), None, "weight"),
    WrongBackward("linear: columns reversed", weight_gradient(lambda w: w.flip(1)), None, "weight"),
    WrongBackward("linear: one entry 1 % off", weight_gradient(one_entry), None, "weight"),
    WrongBackward("linear: in half the digits", weight_gradient(lambda w: w.bfloat16().double()), None, "weight"),
    WrongBackward("linear: clipped by norm", weight_gradient(lambda w: w / w.norm().clamp(min=1.0)), None, "weight"),
    WrongBackward(
        "linear: weight from the first sample",
        linear(lambda g, x, w, b: (g @ w, g[:1].T @ x[:1], g.sum(0))),
        "not summed over the batch",
        "weight",
    ),
    WrongBackward(
        "linear: bias from the last sample",
        linear(lambda g, x, w, b: (g @ w, g.T @ x, g[-1])),
        "not summed over the batch",
        "bias",
    ),
    WrongBackward("linear: weight averaged", weight_gradient(lambda w: w / 4), "averaged over the batch", "weight"),
    WrongBackward(
        "linear: bias averaged",
        linear(lambda g, x, w, b: (g @ w, g.T @ x, g.mean(0))),
        "averaged over the batch",
        "bias",
    ),
    WrongBackward(
        "linear: upstream ignored by the weight",
        linear(lambda g, x, w, b: (g @ w, torch.ones_like(g).T @ x, g.sum(0))),
        "upstream gradient ignored",
        "weight",
    ),
    WrongBackward(
        "linear: upstream ignored by the input",
        linear(lambda g, x, w, b: (torch.ones_like(g) @ w, g.T @ x, g.sum(0))),
        "upstream gradient ignored",
        "input",
    ),
    WrongBackward(
        "linear: upstream clamped to one", linear(lambda g, x, w, b: (g @ w, g.clamp(-1, 1).T @ x, g.sum(0)))
    ),
    WrongBackward("linear: upstream without sign", linear(lambda g, x, w, b: (g @ w, g.T @ x, g.abs().sum(0)))),
    WrongBackward(
        "linear: input's weight transposed",
        linear(lambda g, x, w, b: (g @ w.T, g.T @ x, g.sum(0)), 4, 4, 4),
        None,
        "input",
    ),
    WrongBackward(
        "linear: weight wrong where the input needs a gradient",
        linear(lambda g, x, w, b: (g @ w, g.T @ x * (2 if x.requires_grad else 1), g.sum(0))),
        "constant factor",
        "weight",
    ),
    WrongBackward(
        "linear: bias forgotten where the input needs no gradient",
        linear(lambda g, x, w, b: (g @ w, g.T @ x, g.sum(0) * (1 if x.requires_grad else 0))),
        "zero",
        "bias",
        "parameters only",
    ),
    WrongBackward(
        "linear: bias detached",
        lambda r: (
            Written(lambda m, x: x @ m.weight.T + m.bias.detach(), weight=normal(r, 5, 3), bias=normal(r, 5)),
            (normal(r, 4, 3),),
        ),
        "zero",
        "bias",
    ),
    WrongBackward(
        "linear: weight through .data",
        lambda r: (
            Written(lambda m, x: x @ m.weight.data.T + m.bias, weight=normal(r, 5, 3), bias=normal(r, 5)),
            (normal(r, 4, 3),),
        ),
        "zero",
        "weight",
    ),
]

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
        "zero",
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
        "constant factor",
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
    ),
    WrongBackward(
        "tanh: forward mode forgets the square",
        lambda r: (Written(lambda m, x: WrongForwardMode.apply(x * m.scale), scale=normal(r, 4)), (normal(r, 3, 4),)),
        shows="forward mode",
    ),
]

SHAPING = [
    WrongBackward(
        "product: B's gradient transposed",
        of_input(torch.matmul, lambda g, a, b: (g @ b.T, g.T @ a), shaped(3, 3), shaped(3, 3)),
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
            lambda r: torch.tensor([[1, 1, 2], [0, 3, 0], [2, 2, 2]]),
        ),
        None,
    ),
    WrongBackward(
        "scatter: overwritten entries keep their gradient",
        of_input(
            lambda x, source, index: x.scatter(1, index, source),
            lambda g, x, source, index: (g, g.gather(1, index), None),
            shaped(3, 4),
            shaped(3, 2),
            lambda r: torch.tensor([[0, 1], [3, 2], [1, 3]]),
        ),
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
        "constant factor",
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

LAYERS = [
    WrongBackward(
        "softmax: diagonal only",
        of_input(lambda x: x.softmax(-1), lambda g, x: g * x.softmax(-1) * (1 - x.softmax(-1))),
        None,
        "input",
    ),
    WrongBackward(
        "log-softmax: upstream not summed",
        of_input(lambda x: x.log_softmax(-1), lambda g, x: g - x.softmax(-1)),
        None,
        "input",
    ),
    WrongBackward(
        "cross-entropy: sum for mean",
        of_input(F.cross_entropy, lambda g, x, t: (g * softmax_error(x, t), None), shaped(3, 4), labels),
        "constant factor",
    ),
    WrongBackward(
        "cross-entropy: target forgotten",
        of_input(F.cross_entropy, lambda g, x, t: (g * x.softmax(-1) / 3, None), shaped(3, 4), labels),
    ),
    WrongBackward(
        "normalize: projection forgotten",
        of_input(lambda x: F.normalize(x, dim=-1), lambda g, x: g / x.norm(dim=-1, keepdim=True)),
        None,
        "input",
    ),
    *(
        WrongBackward(
            f"{kind} norm: {detached} detached",
            lambda r, over=over, detached=detached: (
                Normalized(over, detached, normal(r, 4), normal(r, 4)),
                (normal(r, 3, 4),),
            ),
            None,
            "input",
        )
        for kind, over in (("layer", "features"), ("batch", "batch"))
        for detached in ("mean", "variance", "both")
    ),
    WrongBackward(
        "layer norm: weight from X, not normalized",
        lambda r: (
            ByHand(
                lambda x, w: F.layer_norm(x, (4,)) * w,
                lambda g, x, w: (torch.func.vjp(lambda v: F.layer_norm(v, (4,)) * w, x)[1](g)[0], (g * x).sum(0)),
                weight=normal(r, 4),
            ),
            (normal(r, 3, 4),),
        ),
        None,
        "weight",
    ),
    WrongBackward(
        "weight norm: norm detached",
        lambda r: (
            Written(lambda m, x: x @ (m.v / m.v.norm(dim=1, keepdim=True).detach()).T, v=normal(r, 2, 3)),
            (normal(r, 4, 3),),
        ),
        None,
        "v",
    ),
    *(
        WrongBackward(
            f"convolution: {name}",
            lambda r, rule=rule: (
                ByHand(lambda x, w, b: conv(x, w, b), rule, weight=normal(r, 3, 2, 3), bias=normal(r, 3)),
                (normal(r, 2, 2, 5),),
            ),
            None,
            parameter,
        )
        for name, parameter, rule in (
            (
                "weight reversed",
                "weight",
                lambda g, x, w, b: (
                    F.conv_transpose1d(g, w, padding=1),
                    conv_weight(g, F.pad(x, (1, 1))).flip(-1),
                    g.sum((0, 2)),
                ),
            ),
            (
                "border repeated in the weight's gradient",
                "weight",
                lambda g, x, w, b: (
                    F.conv_transpose1d(g, w, padding=1),
                    conv_weight(g, torch.cat([x[..., :1], x, x[..., -1:]], -1)),
                    g.sum((0, 2)),
                ),
            ),
            (
                "input's kernel not reversed",
                "input",
                lambda g, x, w, b: (
                    conv(g, w.transpose(0, 1)),
                    conv_weight(g, F.pad(x, (1, 1))),
                    g.sum((0, 2)),
                ),
            ),
            (
                "bias not summed over positions",
                "bias",
                lambda g, x, w, b: (
                    F.conv_transpose1d(g, w, padding=1),
                    conv_weight(g, F.pad(x, (1, 1))),
                    g.sum(0)[:, 0],
                ),
            ),
        )
    ),
    *(
        WrongBackward(
            f"attention: {mistake}",
            lambda r, mistake=mistake: (Attention(r, mistake), (normal(r, 3, 4),)),
        )
        for mistake in ("scores detached", "scale forgotten", "keys detached")
    ),
    WrongBackward(
        "embedding: scaled by frequency",
        lambda r: (nn.Embedding(5, 3, scale_grad_by_freq=True, _weight=normal(r, 5, 3)), (repeated(r),)),
        None,
        "weight",
    ),
    WrongBackward(
        "embedding: repeated index not added up",
        lambda r: (
            ByHand(
                lambda i, w: w[i],
                lambda g, i, w: (None, torch.zeros_like(w).index_put((i,), g)),
                weight=normal(r, 5, 3),
            ),
            (repeated(r),),
        ),
        None,
        "weight",
    ),
    WrongBackward(
        "dropout: mask not applied",
        of_input(lambda x: F.dropout(x, 0.5), lambda g, x: 2 * g, shaped(4, 5)),
        None,
        "input",
    ),
    WrongBackward(
        "dropout: another mask",
        of_input(lambda x: F.dropout(x, 0.5), lambda g, x: F.dropout(g, 0.5), shaped(4, 5)),
        None,
        "input",
    ),
    *(
        WrongBackward(
            f"{kind}: {what} cut before step 2",
            lambda r, cell=cell: (Recurrent(drawn(cell, r), 2), (normal(r, 4, 2, 3),)),
        )
        for kind, what, cell in (("rnn", "state", nn.RNNCell), ("lstm", "memory", nn.LSTMCell))
    ),
]


def drawn(cell: type[nn.RNNCell] | type[nn.LSTMCell], generator: torch.Generator) -> nn.RNNCell | nn.LSTMCell:
    module = torch.nn.utils.skip_init(cell, 3, 4, dtype=torch.float64)
    for parameter in module.parameters():
        parameter.data = normal(generator, *parameter.shape)
    return module


def hooked(hook: Callable[[Hooked], object]) -> Make:
    return lambda r: (Hooked(r, hook), (normal(r, 3, 3),))


def stateful(mistake: str) -> WrongBackward:
    return WrongBackward(
        f"stateful: {mistake}",
        lambda r: (Stateful(normal(r, 4, 3), mistake), (normal(r, 2, 3),)),
        "stateful",
        "weight",
        "later call",
    )


GRAPHS = [
    *(
        WrongBackward(
            f"tied weights: {path} detached",
            lambda r, path=path: (Tied(normal(r, 3, 4), path), (normal(r, 2, 4),)),
            None,
            "weight",
        )
        for path in ("encoder", "decoder")
    ),
    WrongBackward(
        "residual: skip detached",
        lambda r: (
            Written(lambda m, x: x.detach() + (x @ m.weight).tanh(), weight=normal(r, 4, 4)),
            (normal(r, 3, 4),),
        ),
        None,
        "input",
    ),
    WrongBackward(
        "residual: branch detached",
        lambda r: (
            Written(lambda m, x: x + (x @ m.weight).tanh().detach(), weight=normal(r, 4, 4)),
            (normal(r, 3, 4),),
        ),
    ),
    WrongBackward(
        "saved value overwritten through .data",
        lambda r: (Written(overwritten, weight=normal(r, 4, 3)), (normal(r, 2, 3),)),
    ),
    WrongBackward(
        "checkpoint: recomputed from the input before centring",
        of_input(
            lambda x: (x - x.mean(0)).tanh(),
            lambda g, x: (g * (1 - x.tanh() ** 2)) - (g * (1 - x.tanh() ** 2)).mean(0),
        ),
        None,
        "input",
    ),
    WrongBackward(
        "hook: input's gradient halved by a module's",
        hooked(lambda m: m.last.register_full_backward_hook(lambda layer, inputs, outputs: (inputs[0] / 2,))),
    ),
    WrongBackward(
        "hook: upstream's sign by a module's",
        hooked(lambda m: m.first.register_full_backward_pre_hook(lambda layer, outputs: (-outputs[0],))),
    ),
    WrongBackward(
        "hook: weight's gradient clamped by its own",
        hooked(lambda m: m.first.weight.register_hook(lambda g: g.clamp(-0.1, 0.1))),
        None,
        "first.weight",
    ),
    WrongBackward(
        "hook: bias's gradient doubled by its own",
        hooked(lambda m: m.last.bias.register_hook(lambda g: 2 * g)),
        "constant factor",
        "last.bias",
    ),
    WrongBackward("hook: clipped in passing", lambda r: (Clipped(r), (normal(r, 3, 3),))),
    WrongBackward(
        "cache: activation of an earlier call",
        lambda r: (Cached(normal(r, 4, 3), "first", normal(r, 2, 3)), (normal(r, 2, 3),)),
    ),
    WrongBackward(
        "cache: activation of the first call",
        lambda r: (Cached(normal(r, 4, 3), "first"), (normal(r, 2, 3),)),
        "stateful",
        shows="later call",
    ),
    WrongBackward(
        "cache: activation of the call before",
        lambda r: (Cached(normal(r, 4, 3), "previous"), (normal(r, 2, 3),)),
        "stateful",
        shows="later call",
    ),
    stateful("doubled from the second on"),
    stateful("running sum"),
    stateful("first kept"),
    stateful("alternating sign"),
    WrongBackward(
        "stateful: .grad overwritten, not added to",
        lambda r: (GradWritten(normal(r, 4, 3)), (normal(r, 2, 3),)),
        "stateful",
        "linear.weight",
        "accumulation",
    ),
]


def overwritten(module: nn.Module, x: Tensor) -> Tensor:
    hidden = x @ module.weight.T
    y = hidden * hidden
    hidden.data.tanh_()
    return y


WRONG: list[WrongBackward] = [*LINEAR, *POINTWISE, *SHAPING, *LAYERS, *GRAPHS]
