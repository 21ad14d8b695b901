"""Each layer against PyTorch's own, and each derivative against automatic differentiation of the forward above it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nets.calculus.layers import ACTIVATIONS, Linear, Sigmoid, Softplus, Tanh
from nets.errors import InputError
from tests.cases import ACTIVATION_NAMES

TORCH = {
    "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "relu": nn.ReLU(), "softplus": nn.Softplus(), "gelu": nn.GELU(),
    "identity": nn.Identity(), "sin": None, "gelu_tanh": nn.GELU("tanh"), "silu": nn.SiLU(), "mish": nn.Mish(),
    "leaky_relu": nn.LeakyReLU(), "elu": nn.ELU(), "hardtanh": nn.Hardtanh(),
}  # fmt: skip
POINTS = torch.linspace(-6, 6, 241, dtype=torch.float64) + 0.01  # never on the kink of ReLU


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_the_forward_equals_that_of_torch(name: str) -> None:
    expected = torch.sin(POINTS) if TORCH[name] is None else TORCH[name](POINTS)
    torch.testing.assert_close(ACTIVATIONS[name]()(POINTS), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_slope_is_the_derivative_of_the_forward(name: str) -> None:
    layer = ACTIVATIONS[name]()
    z = POINTS.clone().requires_grad_()
    y = layer(z)
    (expected,) = torch.autograd.grad(y.sum(), z)
    torch.testing.assert_close(layer.slope(POINTS, y.detach()), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
@given(z=st.floats(-1e6, 1e6))
def test_the_slope_is_finite_and_at_most_1_13_for_every_input(name: str, z: float) -> None:
    layer = ACTIVATIONS[name]()
    point = torch.tensor([z], dtype=torch.float64)
    slope = layer.slope(point, layer(point))
    # The steepest is GELU with 1.1290 at Z = √2.
    assert torch.isfinite(slope).all() and slope.abs() <= 1.13


def test_numbers_of_the_source_document() -> None:
    """Document 003: tanh 2 = 0.9640 with slope 0.0707; tanh tanh 2 = 0.7461 with slope 0.4434 · 0.0707 = 0.0313."""
    x = torch.tensor(2.0, dtype=torch.float64)
    tanh = Tanh()
    y = tanh(x)
    z = tanh(y)
    assert round(y.item(), 4) == 0.9640
    assert round(z.item(), 4) == 0.7461
    assert round(tanh.slope(x, y).item(), 4) == 0.0707
    assert round(tanh.slope(y, z).item(), 4) == 0.4434
    assert round((tanh.slope(y, z) * tanh.slope(x, y)).item(), 4) == 0.0313


def test_linear_of_the_source_document() -> None:
    """Document 003: y = wx + b at x = 2, w = 3, b = 4: y = 10, ∂y/∂x = 3, ∂y/∂w = 2, ∂y/∂b = 1."""
    layer = Linear(1, 1).at({"weight": torch.tensor([[3.0]]), "bias": torch.tensor([4.0])})
    x, one = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    y = layer(x)
    assert y.item() == 10
    assert layer.pullback(one, x, y).item() == 3
    assert layer.pushforward(one, x, y).item() == 3
    assert {name: gradient.item() for name, gradient in layer.gradients(one, x, y).items()} == {"weight": 2, "bias": 1}


def test_pullback_and_pushforward_are_adjoint() -> None:
    """⟨v, J t⟩ = ⟨Jᵀ v, t⟩ for every layer, with further axes in front."""
    generator = torch.Generator().manual_seed(0)
    for layer, width in [
        (Linear(4, 3, generator=generator).double(), 3),
        *((kind(), 4) for kind in ACTIVATIONS.values()),
    ]:
        x = torch.randn(5, 4, generator=generator, dtype=torch.float64)
        y = layer(x)
        v = torch.randn(2, 5, width, generator=generator, dtype=torch.float64)
        t = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
        left, right = (v * layer.pushforward(t, x, y)).sum(), (layer.pullback(v, x, y) * t).sum()
        assert math.isclose(left.item(), right.item(), rel_tol=1e-12), layer


def test_linear_gradients_sum_over_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = Linear(4, 3, generator=generator).double()
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    v = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    gradients = layer.gradients(v, x, layer(x))
    torch.testing.assert_close(gradients["weight"], torch.einsum("ni,nj->ij", v, x))
    torch.testing.assert_close(gradients["bias"], torch.einsum("ni->i", v))


def test_softplus_is_exact_where_that_of_torch_is_the_identity() -> None:
    """At Z = 21 log(1 + e^Z) = Z + e^−Z − …, 7.6e-10 above Z, which torch.nn.Softplus drops."""
    z = torch.tensor(21.0, dtype=torch.float64)
    assert (Softplus()(z) - z).item() == pytest.approx(math.log1p(math.exp(-21)), rel=1e-5)
    assert nn.Softplus()(z) == z


def test_sigmoid_does_not_overflow() -> None:
    z = torch.tensor([-800.0, 800.0])
    assert Sigmoid()(z).tolist() == [0, 1]


def test_initial_weights_have_the_variance_of_glorot() -> None:
    """Uniform within ±√(6/(I+J)), so of variance 2/(I+J); biases zero (Glorot, Bengio 2010, equation 16)."""
    layer = Linear(300, 200, generator=torch.Generator().manual_seed(3))
    assert layer.weight.abs().max() <= math.sqrt(6 / 500)
    assert layer.weight.var().item() == pytest.approx(2 / 500, rel=0.02)
    assert not layer.bias.any()
    assert Linear(300, 200, gain=0.5).weight.abs().max() <= 0.5 * math.sqrt(6 / 500)


def test_initial_weights_come_from_the_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, again = (Linear(3, 2, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, Linear(3, 2, generator=torch.Generator().manual_seed(8)).weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_layer_with_other_parameters_leaves_the_layer_unchanged() -> None:
    layer = Linear(2, 2)
    weight = layer.weight
    moved = layer.at({"weight": torch.zeros(2, 2)})
    assert layer.weight is weight and isinstance(layer.weight, nn.Parameter)
    assert not moved.weight.any() and moved.bias is layer.bias


def test_a_wrong_width_is_refused() -> None:
    with pytest.raises(InputError, match="with 4 inputs was given X with 3 features"):
        Linear(4, 2)(torch.zeros(5, 3))


def test_zero_units_are_refused() -> None:
    with pytest.raises(InputError, match="out_features is 0"):
        Linear(4, 0)
