"""Dropout in training: one mask for the forward pass and its derivative, from a stream of the layer's own."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Dropout, Linear, Tanh
from nets.training.evaluation import evaluate
from nets.training.gradients.sample_norms import backpropagate_with_norms

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(layer: Dropout | None = None) -> nets.Network:
    generator = torch.Generator().manual_seed(2)
    first, last = (Linear(*sizes, generator=generator) for sizes in ((3, 4), (4, 2)))
    return nets.Network([first, Dropout(0.4) if layer is None else layer, Tanh(), last]).double()


class AnotherMask(Dropout):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * self.mask(x.shape, 7) / (1 - self.p)


class NotScaled(Dropout):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return super().pullback(v, x, y) * (1 - self.p)


def test_it_is_verified_with_one_mask() -> None:
    certificate = nets.verify(network(), X)
    assert certificate.passed, str(certificate)


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize("kind", [AnotherMask, NotScaled])
def test_a_wrong_mask_or_scale_fails_and_is_named(kind: type[Dropout]) -> None:
    certificate = nets.verify(network(kind(0.4)), X)
    failed = {check.parameter for check in certificate.checks if check.verdict == "fail"} - {"all"}
    assert failed == {"0.weight", "0.bias", "input"} and kind.__name__ in str(certificate)


def test_each_forward_pass_has_the_next_mask_and_the_pullback_that_of_its_output() -> None:
    layer, x = Dropout(0.5), torch.ones(4, 8)
    x[0] = 0  # a number that is kept and one that is left out are both zero here
    outputs = [layer(x) for _ in range(3)]
    assert not torch.equal(outputs[0], outputs[1])
    for number, y in enumerate(outputs):
        kept = layer.mask(x.shape, number)
        torch.testing.assert_close(y, x * kept * 2)
        pulled = layer.pullback(torch.ones(2, 4, 8), x, y)
        torch.testing.assert_close(pulled, (2.0 * kept).expand(2, 4, 8))
        torch.testing.assert_close(layer.pullback(x[1:2], x[1:2], y[1:2]), 2.0 * kept[1:2])
        torch.testing.assert_close(layer.local_jacobian(x, y), 2.0 * kept)


def test_the_share_that_is_kept_and_the_mean_of_the_output() -> None:
    y = Dropout(0.3)(torch.ones(400, 500))
    assert float((y == 0).double().mean()) == pytest.approx(0.3, abs=0.005)
    assert float(y.mean()) == pytest.approx(1, abs=0.01)


def test_masks_come_from_the_layers_own_stream() -> None:
    before = torch.random.get_rng_state()
    generator = torch.Generator().manual_seed(4)
    first, second = Dropout(generator=generator), Dropout(generator=generator)
    again = Dropout(generator=torch.Generator().manual_seed(4))
    x = torch.ones(20, 20)
    y = first(x)
    assert torch.equal(y, again(x)) and not torch.equal(y, second(x))
    one, other = nets.Network.from_torch(nn.Sequential(nn.Dropout(), nn.Dropout())).layers
    assert not torch.equal(one(x), other(x))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("p", "scale"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_probability_of_zero_keeps_everything_and_of_one_nothing(p: float, scale: float) -> None:
    layer, x = Dropout(p), torch.tensor([[-1.0, -0.0, 0.0, 2.0]])
    y = layer(x)
    assert torch.equal(y, x * scale) and torch.equal(layer.pullback(x, x, y), x * scale)


def trained(engine: str, steps: int, state: Any = None, **options: Any) -> Any:
    data = nets.Batch(X, X[:, :2])
    options |= {"engine": engine, "learning_rate": 0.1, "steps": steps, "loss": nets.MeanSquaredError()}
    made = network()
    *_, last = nets.descend(made, data, state=state, **options)
    return made, last


def test_both_engines_descend_alike() -> None:
    ends = [trained(engine, 4) for engine in ("closed_form", "autograd")]
    assert ends[0][1].loss == pytest.approx(ends[1][1].loss, rel=1e-10)
    for one, other in zip(ends[0][0].parameters(), ends[1][0].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_sample_norms_use_the_masks_of_the_batch() -> None:
    made = network()
    loss, data, mask = nets.MeanSquaredError(), nets.Batch(X, X[:, :2]), made.layers[1].mask((5, 4), 0)
    *_, terms = backpropagate_with_norms(made, loss, data)
    for n in range(len(X)):
        h = made.layers[0](X[n : n + 1]) * mask[n] / 0.6
        gradients = torch.autograd.grad(loss(made.layers[3](torch.tanh(h)), X[n : n + 1, :2]), list(made.parameters()))
        found = terms[:, n] * len(X)
        torch.testing.assert_close(found, torch.stack([g.norm() for g in gradients]), rtol=1e-10, atol=1e-12)


def test_sample_norms_by_autograd_are_refused_in_a_sentence() -> None:
    with pytest.raises(nets.InputError, match=r"Dropout .*closed_form"):
        trained("autograd", 1, sample_norms=True)


def test_it_is_evaluated_without_a_mask() -> None:
    made = network()
    loss, data = nets.MeanSquaredError(), nets.Batch(X, X[:, :2])
    found = evaluate(made, loss, data).loss
    assert made.layers[1].training and int(made.layers[1].drawn) == 0
    assert found == loss(made.eval()(X), data.targets).item()


def test_an_impossible_probability_is_refused_in_a_sentence() -> None:
    with pytest.raises(nets.InputError, match=r"p is 1\.5; expected .*1"):
        Dropout(1.5)
