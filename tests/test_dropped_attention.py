"""Attention whose weights pass through Dropout: one mask for the forward pass and its derivatives."""

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.architectures import DroppedAttention, SelfAttention
from nets.calculus.layers import Attention
from nets.training.gradients.backpropagation import backpropagate
from nets.training.gradients.engines import GRADIENT_ENGINES
from nets.training.gradients.layer_statistics import snapshot

X = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SETTINGS = {
    "two heads": {"heads": 2},
    "a group of two heads, rotary": {"heads": 2, "groups": 1, "rotary": 10.0},
    "both directions": {"heads": 4, "causal": False},
}


class WithoutTheMask(DroppedAttention):
    """The backward pass of attention without dropout."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return Attention(self.heads, self.groups).pullback(v, x, y)


class ValuesOfAllWeights(DroppedAttention):
    """The values get cotangents through weights that were left out."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        _, weights = self.visits(v, x, y)
        return weights.layer.pullback(*weights[2:]) + self.parts["weights"].unmixed(v, weights.y, x)[1]


def network(kind: type[DroppedAttention] = DroppedAttention, p: float = 0.4, **settings: object) -> nets.Network:
    attention = kind(Attention(**(settings or {"heads": 2})), p, generator=torch.Generator().manual_seed(1))
    return nets.Network([SelfAttention(8, attention, generator=torch.Generator().manual_seed(2))]).double()


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_verified_in_training(name: str) -> None:
    certificate = nets.verify(network(**SETTINGS[name]), X)
    assert certificate.passed, str(certificate)


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize("kind", [WithoutTheMask, ValuesOfAllWeights])
def test_a_wrong_backward_fails(kind: type[DroppedAttention]) -> None:
    layer = kind(Attention(2), 0.4, generator=torch.Generator().manual_seed(1))
    joined = nets.Linear(8, 24, generator=torch.Generator().manual_seed(2))
    certificate = nets.verify(nets.Network([joined, layer]).double(), X)
    failed = {check.parameter for check in certificate.checks if check.verdict == "fail"}
    assert {"input", "0.weight"} <= failed and f"{kind.__name__}.pullback" in str(certificate)


def test_the_weights_are_those_of_attention_with_a_mask_and_a_factor() -> None:
    attention = Attention(2)
    layer = DroppedAttention(attention, 0.25)
    x = torch.cat([X, X.flip(0), torch.eye(8, dtype=X.dtype)[:4].expand(3, 4, 8)], -1)
    mask = layer.parts["dropout"].mask((3, 2, 4, 4), 0)
    kept = attention.weights(x) * mask / 0.75
    expected = torch.cat([kept @ x[..., 16 + 4 * head : 20 + 4 * head].unsqueeze(1) for head in range(2)], -1)
    torch.testing.assert_close(layer(x), torch.cat([expected[:, 0, :, :4], expected[:, 1, :, 4:]], -1))


def test_in_evaluation_mode_it_is_attention() -> None:
    dropped, x = DroppedAttention(Attention(2), 0.4).eval(), torch.cat([X] * 3, -1)
    torch.testing.assert_close(dropped(x), Attention(2)(x))


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_the_gradient_is_that_of_the_mask_of_its_forward_pass(engine: str) -> None:
    loss, batch = nets.MeanSquaredError(), nets.Batch(X, X)
    found, other = network(), network()
    for _ in range(3):
        value, gradients = GRADIENT_ENGINES[engine]()(found, loss, batch)
        expected_value, expected = backpropagate(other, loss, batch)
        torch.testing.assert_close((value, gradients), (expected_value, expected))


def test_entropy_and_saturation_are_those_of_the_weights_before_the_mask() -> None:
    def statistics(of: nets.Network) -> list[dict[str, float]]:
        return list(snapshot(of, nets.MeanSquaredError(), nets.Batch(X, X)).statistics.values())

    found = statistics(network())
    assert found == statistics(network().eval()) and len(found) == 1 and 0 < found[0]["entropy"] < 2


def encoder_layer(dropout: float) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 12, dropout=dropout, batch_first=True).double()


def test_a_converted_encoder_layer_leaves_out_what_torch_leaves_out() -> None:
    """All of it: every mask is the same then."""
    module = encoder_layer(1.0)
    torch.testing.assert_close(nets.Network.from_torch(module)(X), module(X))


def test_a_converted_encoder_layer_has_the_mean_of_many_masks() -> None:
    module = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.3, batch_first=True, norm_first=True).double()
    network = nets.Network.from_torch(module)
    draws = 4_000
    x = X[:1].expand(draws, -1, -1)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        ours, torchs = network(x), module(x)
    error = ((ours.var(0) + torchs.var(0)) / draws).sqrt()
    assert ((ours.mean(0) - torchs.mean(0)).abs() < 5 * error).all()
    torch.testing.assert_close(ours.std(0), torchs.std(0), rtol=0.1, atol=0)
