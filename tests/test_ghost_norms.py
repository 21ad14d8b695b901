"""Norms of each sample's gradient without the gradients: equal to vmap(grad) to 1e-10, the cheaper way."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.utils._python_dispatch import TorchDispatchMode

import nets
from nets.calculus.architectures import Residual, gpt
from nets.calculus.layer import Layer
from nets.calculus.layers import (
    GRU,
    LSTM,
    Conv1d,
    Conv2d,
    Embedding,
    GroupNorm,
    LayerNorm,
    Linear,
    Positions,
    RMSNorm,
    Tanh,
    TransposedLinear,
)
from nets.calculus.norms import norms_of_products
from nets.training.gradients.sample_norms import backpropagate_with_norms


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def tokens(*shape: int) -> Tensor:
    return torch.randint(5, shape, generator=torch.Generator().manual_seed(1))


def shared() -> Layer:
    layer = Linear(4, 4)
    return nets.Network([Residual([LayerNorm(4), layer, Tanh()]), layer, Linear(4, 3)])


LAYERS: dict[str, tuple[Callable[[], Layer], Tensor]] = {
    "linear": (lambda: Linear(4, 3), numbers(5, 4)),
    "linear, few rows": (lambda: Linear(12, 11), numbers(5, 3, 12)),
    "linear, many rows": (lambda: Linear(3, 2), numbers(5, 9, 3)),
    "linear over images": (lambda: Linear(3, 2), numbers(5, 2, 4, 3)),
    "transposed linear": (lambda: TransposedLinear(12, 11), numbers(5, 3, 12)),
    "embedding": (lambda: Embedding(5, 4), tokens(5, 6)),
    "embedding with padding": (lambda: Embedding(5, 4, padding_idx=2), tokens(5, 6)),
    "positions": (lambda: Positions(6, 4), numbers(5, 3, 4)),
    "layer norm": (lambda: LayerNorm(4), numbers(5, 4)),
    "layer norm of rows": (lambda: LayerNorm(4), numbers(5, 6, 4)),
    "RMS norm of rows": (lambda: RMSNorm(4), numbers(5, 6, 4)),
    "group norm": (lambda: GroupNorm(2, 4), numbers(5, 4, 6)),
    "convolution, many places": (lambda: Conv1d(2, 3, 3, padding=1), numbers(5, 2, 9)),
    "convolution, few places": (lambda: Conv2d(4, 12, 3), numbers(5, 4, 4, 3)),
    "convolution in groups": (lambda: Conv2d(4, 6, 2, stride=2, groups=2), numbers(5, 4, 6, 6)),
    "LSTM": (lambda: LSTM(4, 3), numbers(5, 4, 4)),
    "LSTM, few positions": (lambda: LSTM(8, 8), numbers(5, 2, 8)),
    "GRU": (lambda: GRU(8, 8), numbers(5, 2, 8)),
    "transformer": (lambda: gpt(5, 4, 4, 2, 1), tokens(5, 4)),
    "transformer with a tied head": (lambda: gpt(5, 4, 4, 2, 1, tied=True), tokens(5, 4)),
    "a layer in a shortcut and behind it": (shared, numbers(5, 4)),
}


def by_vmap(layer: Layer, v: Tensor, x: Tensor) -> dict[str, Tensor]:
    """The gradients of Σ_i v_ni Y_ni of each sample."""

    def of_one(parameters: dict[str, Tensor], v: Tensor, x: Tensor) -> Tensor:
        return (v * functional_call(layer, parameters, (x[None],))[0]).sum()

    parameters = {name: p.detach() for name, p in layer.named_parameters()}
    return vmap(grad(of_one), (None, 0, 0))(parameters, v, x)


@pytest.mark.parametrize("name", LAYERS)
def test_the_norms_are_those_of_vmap(name: str) -> None:
    make, x = LAYERS[name]
    layer = make().double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += numbers(*parameter.shape) / 4
    y = layer(x).detach()
    v = y.cos()
    found = layer.sample_norms(v, x, y)
    expected = by_vmap(layer, v, x)
    assert list(found) == list(expected)
    for parameter, gradients in expected.items():
        torch.testing.assert_close(found[parameter], gradients.flatten(1).norm(dim=1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["transformer", "transformer with a tied head", "a layer in a shortcut and behind it"])
def test_the_norms_of_a_network_in_training_are_those_of_vmap(name: str) -> None:
    make, x = LAYERS[name]
    network, loss = nets.Network([make()]).double(), nets.MeanSquaredError("sum")
    target = network(x).detach().sin()
    _, _, norms = backpropagate_with_norms(network, loss, nets.Batch(x, target))
    each = by_vmap(network, loss.gradient(network(x).detach(), target), x)
    expected = torch.stack([gradients.flatten(1).norm(dim=1) for gradients in each.values()])
    torch.testing.assert_close(norms, expected, rtol=1e-10, atol=1e-12)


class Made(TorchDispatchMode):
    """The shapes of all results."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[torch.Size] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.shapes.append(result.shape)
        return result


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (Linear(40, 50), numbers(5, 3, 40)),
        (TransposedLinear(40, 50), numbers(5, 3, 40)),
        (Conv2d(8, 50, 3), numbers(5, 8, 4, 3)),
        (LSTM(40, 30), numbers(5, 2, 40)),
        (Embedding(5, 30), tokens(5, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_few_rows_form_no_gradient_of_a_sample(layer: Layer, x: Tensor) -> None:
    layer = layer.double()
    y = layer(x).detach()
    with Made() as made:
        layer.sample_norms(y, x, y)
    assert max(map(math.prod, made.shapes)) < len(x) * max(parameter.numel() for parameter in layer.parameters())


@pytest.mark.parametrize(("rows", "i", "j"), [(2, 8, 8), (3, 8, 8), (4, 8, 8), (9, 3, 40), (2, 3, 40)])
def test_the_method_with_fewer_multiplications_is_used(rows: int, i: int, j: int) -> None:
    v, x = numbers(5, rows, i), numbers(5, rows, j)
    with Made() as made:
        found = norms_of_products(v, x)
    assert ((5, i, j) in made.shapes) == (rows * (i + j) >= i * j)
    torch.testing.assert_close(found, torch.linalg.matrix_norm(v.mT @ x), rtol=1e-10, atol=1e-12)
