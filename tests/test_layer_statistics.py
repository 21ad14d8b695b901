"""The statistics of layers, compared with autograd, with numbers worked out by hand, and with their own predictions."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.architectures import gpt
from nets.calculus.layers import ACTIVATIONS, Attention, BatchNorm1d, Conv2d, Dropout, Flatten, Linear, ReLU, Tanh
from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.records.layer_statistics import FLAT, QUANTILES, LayerStatistics, ratio
from nets.training.gradients.layer_statistics import snapshot
from tests.cases import NETWORKS, Case


def batch(case: Case) -> nets.Batch:
    outputs = case.network(case.x).shape
    return nets.Batch(case.x, torch.randn(outputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def test_a_snapshot_leaves_running_statistics_and_random_numbers_as_they_are() -> None:
    network = Network([Linear(3, 4), BatchNorm1d(4), Tanh(), Dropout(0.5), Linear(4, 2)])
    data = nets.Batch(torch.linspace(-1, 1, 15).reshape(5, 3), torch.ones(5, 2))
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    state = torch.random.get_rng_state()
    seen = snapshot(network, nets.MeanSquaredError(), data)
    assert len(seen.layers) == 3 and "1.running_mean" in before and "3.drawn" in before
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_cotangents_equal_those_of_autograd(case: Case) -> None:
    # Compared with PyTorch's backward pass: the gradient of the loss with respect to each value between the layers.
    loss, data = nets.MeanSquaredError(), batch(case)
    values = case.network.trace(data.inputs.clone().requires_grad_())
    gradients = torch.autograd.grad(loss(values[-1], data.targets), values)
    norms = [float(gradient.norm()) for gradient in gradients]
    seen = snapshot(case.network, loss, data, updates=7)
    assert (seen.updates, seen.samples) == (7, len(data))
    starts = [int(layer.name) for layer in seen.layers]
    for layer, start, stop in zip(seen.layers, starts, [*starts[1:], len(case.network)], strict=True):
        behind = start + isinstance(case.network[start], Linear)
        assert layer.cotangents == pytest.approx([norms[stop], norms[behind], norms[start]], rel=1e-12)
        assert layer.measured == pytest.approx(norms[stop] / norms[start])
        assert [int(one.name) for one in layer.activations] == list(range(behind, stop))
        assert layer.input_norm == pytest.approx(float(values[start].detach().norm()))


def test_a_linear_layer_and_its_activations_have_one_row() -> None:
    network = Network([Tanh(), Linear(2, 3), Tanh(), Tanh(), Linear(3, 4)])
    seen = snapshot(network, nets.MeanSquaredError(), nets.Batch(torch.ones(5, 2), torch.zeros(5, 4)))
    found = [(layer.name, layer.units, [one.kind for one in layer.activations]) for layer in seen.layers]
    assert found == [("0", 2, ["Tanh"]), ("1", 3, ["Tanh", "Tanh"]), ("4", 4, [])]
    assert seen.layers[0].weight == 1.0 and seen.layers[2].slope == 1.0


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_statistics_equal_those_of_autograd(activation: str) -> None:
    # SlopeStatistics by autograd, counted with numpy; X runs far into the tails.
    x = torch.linspace(-12, 12, 60, dtype=torch.float64).reshape(20, 3).requires_grad_()
    layer = ACTIVATIONS[activation]()
    (slope,) = torch.autograd.grad(layer(x).sum(), x)
    size = np.abs(slope.numpy())
    seen = snapshot(Network([layer]), nets.MeanSquaredError(), nets.Batch(x.detach(), torch.zeros(20, 3).double()))
    (found,) = seen.layers[0].activations
    assert found.rms == pytest.approx(np.sqrt((size**2).mean()))
    assert found.flat == pytest.approx((size < FLAT).mean())
    assert found.zero == pytest.approx((size == 0).mean())
    assert found.dead == pytest.approx((size == 0).all(0).mean())
    assert found.quantiles == pytest.approx(np.quantile(size, QUANTILES, method="inverted_cdf"))
    assert found.formula.startswith("|") == bool((slope < 0).any())


def test_slopes_of_several_activations_multiply() -> None:
    # f′ of tanh(tanh Z) is (1 − Y²)(1 − H²), H = tanh Z; the root mean square of the product is not the product of the
    # two.
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    product = (1 - torch.tanh(torch.tanh(z)) ** 2) * (1 - torch.tanh(z) ** 2)
    (layer,) = snapshot(Network([Tanh(), Tanh()]), nets.MeanSquaredError(), nets.Batch(z, torch.zeros_like(z))).layers
    assert layer.slope == pytest.approx(float(product.square().mean().sqrt()), rel=1e-12)


@pytest.mark.parametrize("units", [4, 6])
@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_a_scaled_rotation_attenuates_by_exactly_its_scale(scale: float, units: int) -> None:
    # ‖v W‖ = scale ‖v‖ for every v where W Wᵀ = scale² 1, so prediction and measurement meet whatever the gradient is.
    linear = Linear(6, units).double()
    rows = torch.linalg.qr(torch.randn(6, units, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0].T
    linear.weight.data = scale * rows
    data = nets.Batch(torch.ones(3, 6, dtype=torch.float64), torch.zeros(3, units, dtype=torch.float64))
    (layer,) = snapshot(Network([linear]), nets.MeanSquaredError(), data).layers
    assert layer.measured == pytest.approx(1 / scale, rel=1e-12)
    assert layer.predicted == pytest.approx(1 / scale, rel=1e-12)


class Random(Loss):
    """A loss whose gradient has no preferred direction."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        return y.sum()

    def gradient(self, y: Tensor, target: Tensor) -> Tensor:
        return torch.randn(y.shape, generator=torch.Generator().manual_seed(self.seed)).to(y.dtype)

    def check(self, y: Tensor, target: Tensor) -> None:
        pass


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "softplus", "gelu", "sin", "identity"])
def test_measured_attenuation_is_near_the_prediction(activation: str, seed: int) -> None:
    # Ten layers of 100 units, weights as Linear draws them, so no cotangent prefers a direction. The prediction is
    # for wide layers: its error is of the order 1/√I for a layer. Measured ÷ predicted over these seeds: 0.92 to 1.09
    # for a layer, 0.74 to 1.20 for all ten.
    generator = torch.Generator().manual_seed(seed)
    network = nets.mlp([100] * 11, activation, activation, gain=1.3, generator=generator).double()
    x = torch.randn(200, 100, generator=generator, dtype=torch.float64)
    seen = snapshot(network, Random(seed), nets.Batch(x, torch.zeros(200, 100)))
    errors = [layer.measured / layer.predicted for layer in seen.layers]
    assert all(0.8 < error < 1.25 for error in errors), errors
    assert 0.6 < math.prod(errors) < 1.6


def test_dead_units_and_non_finite_numbers_are_counted() -> None:
    linear = Linear(2, 4).double()
    linear.weight.data = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    network = Network([linear, ReLU()])
    data = nets.Batch(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double(), torch.zeros(2, 4).double())
    (layer,) = snapshot(network, nets.MeanSquaredError(), data).layers
    (relu,) = layer.activations
    assert (relu.flat, relu.zero, relu.dead, layer.not_finite) == (0.5, 0.5, 0.5, 0)
    linear.weight.data[0, 0], linear.weight.data[1, 1] = math.inf, math.nan
    (layer,) = snapshot(network, nets.MeanSquaredError(), data).layers
    assert layer.not_finite == 2 * 2  # inf in the first unit and NaN in the second, for each of two samples
    assert math.isnan(layer.weight)


def test_a_ratio_over_zero_is_infinite_or_nan() -> None:
    assert ratio(6, 3) == 2
    assert ratio(1, 0) == math.inf
    assert math.isnan(ratio(0, 0)) and math.isnan(ratio(math.nan, 0)) and math.isnan(ratio(math.nan, 1))
    layer = LayerStatistics("0", 1, (), 1.0, 0, 0, 0.0, 1.0, (1.0, 1.0, 0.0))
    assert layer.measured == layer.predicted == math.inf


def test_a_snapshot_changes_nothing() -> None:
    network = nets.mlp([4, 3, 2], "tanh", "identity")
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    snapshot(network, nets.MeanSquaredError(), nets.Batch(torch.ones(3, 4), torch.zeros(3, 2)))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(parameter.grad is not None and bool((parameter.grad == 1).all()) for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_dead_channels_of_a_convolution_are_those_that_are_zero_everywhere() -> None:
    # Channels 1 and 3 of 4 have no weight and a bias below 0; the others are positive somewhere.
    network = Network([Conv2d(1, 4, 3, padding=1), ReLU(), Flatten(), Linear(100, 2)])
    with torch.no_grad():
        network.layers[0].weight[[1, 3]] = 0
        network.layers[0].bias[[1, 3]] = -1
    data = nets.Batch(torch.randn(6, 1, 5, 5, generator=torch.Generator().manual_seed(0)), torch.ones(6, 2))
    seen = snapshot(network, nets.MeanSquaredError(), data)
    layer = seen.layers[0]
    assert (layer.name, layer.kind, layer.units) == ("0", "Conv2d", 4)
    assert layer.activations[0].dead == 0.5


@torch.no_grad()
def test_the_gain_of_a_large_jacobian_is_measured_by_random_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Conv2d(2, 3, 3, padding=1)
    x = torch.randn(40, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    exact = layer.backward_gain(x, layer(x))
    monkeypatch.setattr("nets.calculus.layer.MOST_EXACT_ENTRIES", 0)
    # 7,680 signs: the mean of so many squares has a relative error of about 0.02.
    assert layer.backward_gain(x, layer(x)) == pytest.approx(exact, rel=0.05)


def test_a_sequence_within_a_sequence_has_statistics_of_each_layer() -> None:
    tokens = torch.randint(5, (6, 3), generator=torch.Generator().manual_seed(0))
    network = gpt(5, context=3, width=4, heads=2, blocks=2)
    seen = snapshot(network, nets.CrossEntropy(), nets.Batch(tokens, tokens))
    assert [(layer.name, layer.kind) for layer in seen.layers] == [
        ("position", "Positions"),
        ("blocks.0", "PreNormBlock"),
        ("blocks.1", "PreNormBlock"),
        ("norm", "LayerNorm"),
        ("head", "Linear"),
    ]
    values = [network.parts["token"](tokens)]
    for name in ("position", "blocks", "norm", "head"):
        values.append(network.parts[name](values[-1]))
    y = values[-1].detach().requires_grad_()
    nets.CrossEntropy()(y, tokens).backward()
    assert y.grad is not None and seen.layers[-1].cotangents[0] == pytest.approx(float(y.grad.norm()), rel=1e-5)


def test_attention_records_its_entropy_and_its_saturation() -> None:
    # Worked out from P: position 0 sees itself alone, and does not count.
    attention = Attention(2)
    x = 3 * torch.randn(5, 4, 12, generator=torch.Generator().manual_seed(0))
    seen = snapshot(Network({"mix": attention}), nets.MeanSquaredError(), nets.Batch(x, torch.zeros(5, 4, 4)))
    p = attention.weights(x).double().numpy()[:, :, 1:]
    terms = np.where(p > 0, -p * np.log(np.where(p > 0, p, 1)), 0).sum(-1)
    found = seen.statistics["mix"]
    assert found["entropy"] == pytest.approx(terms.mean(), rel=1e-5)
    assert found["saturated"] == pytest.approx((p.max(-1) > 0.99).mean()) and 0 < found["saturated"] < 1
    assert attention.statistics(x[:, :1], x) == {}
