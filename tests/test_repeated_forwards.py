"""A layer made of layers repeats their forward pass for its pullback: the same masks, and statistics that stay."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.architectures import PreNormBlock, Product, Repeat, Residual, SelfAttention, Sum
from nets.calculus.layers import Attention, BatchNorm1d, Dropout, LayerNorm, Linear, Tanh
from nets.training.gradients.backpropagation import backpropagate
from nets.training.gradients.sample_norms import backpropagate_with_norms
from tests.in_matrix import chosen_in_test
from tests.layers.residual import Residual as OwnResidual

EXACT = {"rtol": 1e-10, "atol": 1e-12}
X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SEQUENCES = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def linear() -> Linear:
    return Linear(4, 4, generator=torch.Generator().manual_seed(1))


def block() -> nets.Layer:
    attention = nets.Network([SelfAttention(4, Attention(2)), Dropout(0.4)])
    return PreNormBlock(attention, nets.Network([linear(), Tanh(), Dropout(0.3)]), LayerNorm(4), LayerNorm(4))


def shared() -> nets.Layer:
    """One Dropout in two places, each with a mask of its own."""
    layer = Dropout(0.4)
    return nets.Network([Residual([linear(), layer]), Residual([Tanh(), layer])])


DROPOUTS: dict[str, tuple[Callable[[], nets.Layer], Tensor]] = {
    "residual": (lambda: Residual([linear(), Dropout(0.4), Tanh()]), X),
    "network": (lambda: nets.Network([Dropout(0.4), linear()]), X),
    "residual in a residual": (lambda: Residual([Residual([linear(), Dropout(0.4)]), Dropout(0.2)]), X),
    "sum": (lambda: Sum([nets.Network([linear(), Dropout(0.4)]), Dropout(0.2)]), X),
    "product": (lambda: Product([nets.Network([linear(), Dropout(0.4)]), Dropout(0.2)]), X),
    "repeat": (lambda: Repeat(nets.Network([linear(), Dropout(0.4), Tanh()]), 3), X),
    "one dropout in two places": (shared, X),
    "block": (block, SEQUENCES),
}


class Noise(nets.Layer):
    """Y = X (1 + a random number), from a generator of the layer; Y / X is the derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.source = torch.Generator().manual_seed(5)

    @property
    def draws(self) -> bool:
        return True

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + torch.rand(x.shape, generator=self.source, dtype=x.dtype))

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * y / x


NOISES: dict[str, tuple[Callable[[], nets.Layer], Tensor]] = {
    "residual": (lambda: Residual([linear(), Noise(), Tanh()]), X),
    "sum": (lambda: Sum([nets.Network([linear(), Noise()]), Noise()]), X),
}
NORMS: dict[str, tuple[Callable[[], nets.Layer], Tensor]] = {
    "residual": (lambda: Residual([linear(), BatchNorm1d(4), Tanh()]), X),
    "sum": (lambda: Sum([nets.Network([linear(), BatchNorm1d(4)]), BatchNorm1d(4)]), X),
    "a layer of a user's own": (lambda: OwnResidual(linear(), BatchNorm1d(4)), X),
}
EACH = [*(("dropout", name) for name in DROPOUTS), *(("norm", name) for name in NORMS)]
MOVING = [*EACH, *(("noise", name) for name in NOISES)]


def made(kind: str, name: str) -> tuple[nets.Network, nets.Batch]:
    make, x = {"dropout": DROPOUTS, "norm": NORMS, "noise": NOISES}[kind][name]
    network = nets.Network([linear(), make(), Linear(4, 2, generator=torch.Generator().manual_seed(2))]).double()
    return network, nets.Batch(x, x[..., :2].cos())


def state(network: nets.Network) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


@pytest.mark.parametrize(("kind", "name"), MOVING)
def test_gradients_are_those_of_the_forward_pass_and_nothing_moves_twice(kind: str, name: str) -> None:
    (network, batch), (other, _), loss = made(kind, name), made(kind, name), nets.MeanSquaredError()
    for _ in range(3):
        value = loss(other(batch.inputs), batch.targets)
        expected = torch.autograd.grad(value, list(other.parameters()))
        found, gradients = backpropagate(network, loss, batch)
        torch.testing.assert_close(found, value, **EXACT)
        torch.testing.assert_close(list(gradients.values()), list(expected), **EXACT)
        torch.testing.assert_close(state(network), state(other), **EXACT)


@pytest.mark.parametrize("name", DROPOUTS)
def test_norms_of_samples_are_those_of_the_same_masks(name: str) -> None:
    (network, batch), loss = made("dropout", name), nets.MeanSquaredError()
    _, gradients, norms = backpropagate_with_norms(network, loss, batch)
    other, n = made("dropout", name)[0], len(batch.inputs)
    y = other(batch.inputs)
    for sample in range(n):
        one = loss(y[sample : sample + 1], batch.targets[sample : sample + 1])
        each = torch.autograd.grad(one, list(other.parameters()), retain_graph=True)
        torch.testing.assert_close(norms[:, sample] * n, torch.stack([g.norm() for g in each]), **EXACT)
    assert list(gradients) == [parameter for parameter, _ in other.named_parameters()]


@pytest.mark.parametrize(("kind", "name"), MOVING)
def test_every_derivative_of_the_layer_repeats_one_forward_pass(kind: str, name: str) -> None:
    network, batch = made(kind, name)
    layer, x = network.layers[1], network.layers[0](batch.inputs).detach()
    outputs = [layer(x).detach() for _ in range(2)]
    before = state(network)
    v, t = x.cos(), x.sin()
    for y in outputs:  # the first pullback is of the forward pass before the last
        pulled = layer.pullback(v, x, y)
        torch.testing.assert_close((layer.pushforward(t, x, y) * v).sum(), (pulled * t).sum(), **EXACT)
        found = layer.gradients(v, x, y)
        tangents = {parameter: p.detach().cos() for parameter, p in layer.named_parameters()}
        total = sum((found[parameter] * tangent).sum() for parameter, tangent in tangents.items())
        torch.testing.assert_close((layer.parameter_pushforward(tangents, x, y) * v).sum(), total, **EXACT)
        torch.testing.assert_close(layer.pullback(v, x, y), pulled, **EXACT)
    assert kind == "norm" or not torch.equal(*outputs)
    torch.testing.assert_close(state(network), before, rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "name"), MOVING)
def test_both_engines_descend_alike(kind: str, name: str) -> None:
    ends = []
    for engine in ("closed_form", "autograd"):
        network, batch = made(kind, name)
        options: dict[str, Any] = {"engine": engine, "learning_rate": 0.1, "steps": 3}
        list(nets.descend(network, batch, loss=nets.MeanSquaredError(), **options))
        ends.append({**dict(network.named_parameters()), **state(network)})
    torch.testing.assert_close(*ends, **EXACT)


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize(("kind", "name"), chosen_in_test(EACH, lambda each: each != ("dropout", "block")))
def test_it_is_verified_in_training(kind: str, name: str) -> None:
    network, batch = made(kind, name)
    before = state(network)
    certificate = nets.verify(network, batch.inputs[:3])
    assert certificate.passed, str(certificate)
    torch.testing.assert_close(state(network), before, rtol=0, atol=0)


def test_a_pullback_without_a_forward_pass_is_refused_in_a_sentence() -> None:
    layer = Residual([linear(), Dropout(0.4)]).double()
    with pytest.raises(nets.InputError, match=r"Residual .*forward pass.*eval\(\)"):
        layer.pullback(X, X, layer(X).clone())
    layer.eval().pullback(X, X, layer(X).clone())
