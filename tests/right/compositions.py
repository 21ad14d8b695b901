"""Modules that are right in ways that a checker may stumble over."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.building import Draw, Make, Written, below, between, built, fixed, normal, shaped, spread
from tests.right import modules
from tests.right.modules import Remembering, Rotary, Routed, SlopedTanh, Tanh, VmappedTanh


def _written(formula: Any, *points: Draw, **shapes: tuple[int, ...]) -> Make:
    """A formula with parameters of these shapes."""
    return lambda r: (
        Written(formula, **{name: normal(r, *shape) for name, shape in shapes.items()}),
        tuple(point(r) for point in points),
    )


def _frozen(generator: torch.Generator) -> tuple[nn.Module, tuple[Tensor]]:
    module = Written(lambda m, x: x @ m.weight + m.bias, weight=normal(generator, 3, 2), bias=normal(generator, 2))
    module.weight.requires_grad_(False)
    return module, (normal(generator, 4, 3),)


def _complex(draw: Draw) -> Draw:
    return lambda generator: torch.complex(draw(generator), draw(generator))


def _complex_weight(formula: Any, point: Draw) -> Make:
    return lambda r: (Written(formula, weight=_complex(shaped(3, 2))(r)), (point(r),))


PARAMETERS: dict[str, Make] = {
    "tied weights": _written(lambda m, x: (x @ m.weight.T).tanh() @ m.weight, shaped(2, 4), weight=(3, 4)),
    "one module used twice": built(modules.twice, shaped(2, 3)),
    "a frozen weight": _frozen,
    "an unused weight": _written(lambda m, x: x * m.used, shaped(3, 2), used=(2,), unused=(2, 3)),
    "a weight whose gradient cancels": _written(lambda m, x: (x + m.bias).softmax(-1), shaped(3, 4), bias=(1,)),
    "a number as parameter": _written(lambda m, x: m.scale * x.sin(), shaped(2, 3), scale=()),
    "no parameters": _written(lambda m, x: x.sin(), shaped(2, 3)),
    "complex linear": built(lambda: nn.Linear(3, 2, dtype=torch.complex128), _complex(shaped(2, 3))),
    "complex weight, real output": _complex_weight(lambda m, x: (x @ m.weight).abs().square(), _complex(shaped(2, 3))),
    "complex modulus and angle": _complex_weight(lambda m, x: (x * m.weight.abs(), m.weight.angle()), shaped(4, 3, 2)),
    "fourier transform": _written(lambda m, x: torch.fft.rfft(x * m.filter).abs(), shaped(2, 5), filter=(5,)),
    "fourier transform, complex output": _written(lambda m, x: torch.fft.fft(x), shaped(2, 4)),
    "a buffer that every call moves": built(lambda: modules.Centred(3), shaped(4, 3)),
    "a buffer in double precision": built(lambda: modules.Standardized(3), shaped(4, 3)),
    "single precision inside": _written(
        lambda m, x: (x.float() @ m.weight.float()).double(), shaped(2, 3), weight=(3, 2)
    ),
}

OUTPUTS: dict[str, Make] = {
    "a number": _written(lambda m, x: (x @ m.weight).sin().sum(), shaped(3, 2), weight=(2,)),
    "a dictionary": _written(lambda m, x: {"y": x * m.weight, "norm": x.norm(dim=1)}, shaped(3, 2), weight=(2,)),
    "a nested list": _written(lambda m, x: [x.sin(), (x @ m.weight, [x.exp()])], shaped(3, 2), weight=(2, 1)),
    "a tuple with indices": _written(lambda m, x: (x.max(-1).values, x.argmax(-1)), spread(3, 4)),
    "a tuple with nothing in it": _written(lambda m, x: (x.square(), None), shaped(3, 2)),
    "a named tuple": _written(lambda m, x: x.sort(-1), spread(3, 4)),
    "one part without gradient": _written(lambda m, x: (x * m.weight, torch.ones(2)), shaped(3, 2), weight=(2,)),
    "the input itself": _written(lambda m, x: (x, x.sin()), shaped(2, 3)),
    "a view of the input": _written(lambda m, x: x.T[1:], shaped(3, 4)),
    "a transposed view of a weight": _written(lambda m, x: x @ m.weight.T, shaped(2, 3), weight=(4, 3)),
    "inputs in a dictionary": lambda r: (
        Written(lambda m, d: d["a"] * d["b"].sin()),
        ({k: normal(r, 2, 2) for k in "ab"},),
    ),
    "inputs in a list": lambda r: (Written(lambda m, xs: torch.stack(xs).prod(0)), ([normal(r, 3), normal(r, 3)],)),
    "a mask as input": _written(
        lambda m, x, mask: x.exp().masked_fill(mask, 0), shaped(4), fixed(True, False, True, False)
    ),
    "a number as input": lambda r: (Written(lambda m, x, power: x**power), (normal(r, 2, 3), 3)),
}

SCALES: dict[str, Make] = {
    "inputs of 1e6": _written(lambda m, x: x @ m.weight, shaped(2, 3, scale=1e6), weight=(3, 2)),
    "inputs of 1e-6": _written(lambda m, x: (x @ m.weight).tanh(), shaped(2, 3, scale=1e-6), weight=(3, 2)),
    "outputs of 1e6": _written(lambda m, x: 1e6 * (x @ m.weight).sin(), shaped(2, 3), weight=(3, 2)),
    "outputs of 1e-6": _written(lambda m, x: 1e-6 * (x @ m.weight).sin(), shaped(2, 3), weight=(3, 2)),
    "outputs of 1e-30": _written(lambda m, x: 1e-30 * (x @ m.weight).sin(), shaped(2, 3), weight=(3, 2)),
    "samples of 1e-6, 1 and 1e6": _written(
        lambda m, x: x * m.weight * torch.tensor([[1e-6], [1], [1e6]]).double(), shaped(3, 2), weight=(2,)
    ),
    "parameters of 1e-8 and 1e8": _written(
        lambda m, x: (x * 1e-8 * m.small).sin() + m.large * 1e8, shaped(2, 3), small=(3,), large=(3,)
    ),
    "tanh, saturated to a slope of 6e-8": _written(lambda m, x: (x + 9).tanh(), shaped(3, 2, scale=0.1)),
    "tanh, half of it saturated": _written(lambda m, x: (x * torch.tensor([1.0, 8.0]).double()).tanh(), spread(3, 2)),
    "softmax of one certain class": _written(
        lambda m, x: (x + torch.tensor([20.0, 0, 0]).double()).softmax(-1), shaped(2, 3)
    ),
    "fast oscillation": _written(lambda m, x: (300 * x).sin(), shaped(2, 3)),
    "high power": _written(lambda m, x: x**12, between(0.5, 1.5, 2, 3)),
    "near a pole": _written(lambda m, x: 1 / x, between(1e-3, 2e-3, 2, 3)),
    "logarithm near zero": _written(lambda m, x: x.log(), between(1e-6, 2e-6, 2, 3)),
    "square root near zero": _written(lambda m, x: x.sqrt(), between(1e-6, 2e-6, 2, 3)),
}

OPERATIONS: dict[str, Make] = {
    "cumulative sum and product": _written(lambda m, x: (x.cumsum(-1), x.cumprod(-1)), shaped(2, 4)),
    "logsumexp": _written(lambda m, x: x.logsumexp((0, 1)), shaped(2, 3)),
    "gather with repeats": _written(lambda m, x, i: x.gather(1, i), shaped(2, 4), below(4, 2, 5)),
    "scatter and add": _written(
        lambda m, x, i: torch.zeros(2, 3).double().scatter_add(1, i, x), shaped(2, 4), below(3, 2, 4)
    ),
    "index and add": _written(lambda m, x, i: m.table.index_add(0, i, x), shaped(3, 2), fixed(1, 0, 1), table=(2, 2)),
    "largest two": _written(lambda m, x: x.topk(2).values, spread(3, 4)),
    "where": _written(lambda m, x: torch.where(x > 0, x.sin(), x.square()), spread(3, 4)),
    "clamp": _written(lambda m, x: x.clamp(-0.7, 0.52), spread(3, 4)),
    "product over an axis": _written(lambda m, x: x.prod(0), shaped(3, 4)),
    "einsum": _written(lambda m, x: torch.einsum("ni,ijk,nj->nk", x, m.core, x), shaped(2, 3), core=(3, 3, 2)),
    "broadcast": _written(lambda m, x: x * m.column + m.row, shaped(2, 3), column=(2, 1), row=(3,)),
    "linear system": _written(
        lambda m, x: torch.linalg.solve(m.matrix + 4 * torch.eye(3).double(), x), shaped(3, 2), matrix=(3, 3)
    ),
    "cholesky and determinant": _written(modules.log_density, shaped(3), root=(3, 3)),
    "singular values": _written(lambda m, x: torch.linalg.svdvals(x), shaped(3, 2)),
    "matrix exponential": _written(lambda m, x: torch.linalg.matrix_exp(x), shaped(3, 3)),
    "sampling on a grid": _written(
        lambda m, x: F.grid_sample(m.image, x, align_corners=True), between(-0.8, -0.2, 1, 2, 2, 2), image=(1, 1, 3, 3)
    ),
    "strided view": _written(lambda m, x: x.as_strided((2, 2), (1, 2)).sin(), shaped(5)),
    "write in place to a copy": _written(modules.written_in_place, shaped(2, 4), weight=(2,)),
    "chunks, stacked": _written(
        lambda m, x: torch.stack([c.sin() * i for i, c in enumerate(x.chunk(2, 1))]), shaped(2, 4)
    ),
}

FLOW: dict[str, Make] = {
    "branch on the data": _written(
        lambda m, x: x.sin() if x.sum() > 0 else x.exp() * m.scale, shaped(2, 3), scale=(3,)
    ),
    "loop until convergence": _written(modules.fixed_point, between(0.5, 1.5, 2, 2)),
    "routed to one of two experts": built(lambda: Routed(3, 2), shaped(4, 3)),
    "in place: relu inside": built(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)), shaped(2, 3)
    ),
    "in place: relu of the input": built(lambda: nn.ReLU(inplace=True), spread(2, 3)),
    "residual": _written(lambda m, x: x + (x @ m.weight).tanh(), shaped(2, 3), weight=(3, 3)),
    "checkpoint": _written(
        lambda m, x: checkpoint(lambda v: (v @ m.weight).tanh(), x, use_reentrant=False), shaped(2, 3), weight=(3, 2)
    ),
    "checkpoint with dropout": _written(
        lambda m, x: checkpoint(lambda v: F.dropout(v @ m.weight), x, use_reentrant=False), shaped(2, 3), weight=(3, 2)
    ),
    "own function": _written(lambda m, x: Tanh.apply(x @ m.weight), shaped(2, 3), weight=(3, 2)),
    "own function with forward mode": _written(lambda m, x: SlopedTanh.apply(x * m.weight), shaped(2, 3), weight=(3,)),
    "own function with its rule for vmap": _written(
        lambda m, x: VmappedTanh.apply(x * m.weight), shaped(2, 3), weight=(3,)
    ),
    "hooks that only look on": built(modules.watched, shaped(2, 3)),
    "a hook that changes the output": built(modules.doubled_by_a_hook, shaped(2, 3)),
    "a cache of positions, filled at the first call": built(lambda: Rotary(4), shaped(2, 3, 4)),
    "the last activation, remembered": built(lambda: Remembering(3, 2), shaped(2, 3)),
    "random numbers of its own": _written(lambda m, x: x * torch.rand(3).double() + m.scale, shaped(2, 3), scale=(3,)),
    "gradient stopped where the derivative is zero": _written(
        lambda m, x: x.square() + x.detach().sign(), spread(2, 3)
    ),
    "no graph for a constant": _written(lambda m, x: x * modules.without_graph(x.shape[0]), shaped(2, 3)),
}

COMPOSITIONS: dict[str, Make] = PARAMETERS | OUTPUTS | SCALES | OPERATIONS | FLOW
