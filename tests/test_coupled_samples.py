"""Layers whose output for one sample depends on other samples: how they are found, and what is computed then."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.checks import FEW_SAMPLES, grouped_cotangents
from nets.calculus.formulas import formulas
from nets.calculus.layers import Linear, Tanh
from nets.records.method import Method
from nets.verification.derivations.engines import OutOfReachError, available
from tests.test_protocol import EXACT, by_autograd, descents, generator


class BatchNorm(nets.Layer):
    """Y_ni = (X_ni − mean_n X_ni) / √(var_n X_ni + ε) in training, with fixed statistics in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x - self.mean
        self.mean.lerp_(x.mean(0).detach(), 0.1)
        return (x - x.mean(0)) * (x.var(0, correction=0) + 1e-5).rsqrt()

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        if not self.training:
            return v
        r = (x.var(0, correction=0) + 1e-5).rsqrt()
        return r * (v - v.mean(-2, keepdim=True) - y * (v * y).mean(-2, keepdim=True))


class ConstantStatistics(BatchNorm):
    """Its pullback takes the statistics to be constants."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * (x.var(0, correction=0) + 1e-5).rsqrt()


def normalised(layer: Callable[[], nets.Layer] = BatchNorm) -> tuple[nets.Network, Tensor]:
    layers = [Linear(3, 3, generator=generator()), layer(), Tanh(), Linear(3, 2, generator=generator())]
    return nets.Network(layers).double(), torch.randn(4, 3, generator=generator(), dtype=torch.float64)


def test_samples_that_depend_on_one_another_have_the_jacobians_of_autograd() -> None:
    network, x = normalised()
    kept = network.layers[1].mean.clone()
    found = nets.jacobians(network, x)
    assert torch.equal(network.layers[1].mean, kept), "a Jacobian changed the running statistics"
    for name, dense in by_autograd(network, x).items():
        torch.testing.assert_close(found[name].dense(), dense, **EXACT)
    assert found["input"].shape == (4, 2, 4, 3) and found["input"].entry(0, 1, 2, 1) != 0
    assert nets.verify(network, x).passed
    assert nets.jacobians(network.eval(), x)["input"].shape == (4, 2, 3)


def test_a_pullback_with_constant_statistics_fails() -> None:
    network, x = normalised(ConstantStatistics)
    failed = {check.parameter for check in nets.verify(network, x).checks if check.verdict == "fail"} - {"all"}
    # A shift of all samples is taken out again, so that the bias does not show the mistake.
    assert failed >= {"0.weight", "input"} and not failed & {"3.weight", "3.bias"}


def test_there_is_no_formula_through_a_layer_that_couples_samples() -> None:
    network, x = normalised()
    assert set(formulas(network, x)) == {"3.weight", "3.bias"}
    assert set(formulas(network.eval(), x)) == {"0.weight", "0.bias", "3.weight", "3.bias", "input"}


def test_a_network_with_running_statistics_is_trained_and_the_check_of_the_data_leaves_them() -> None:
    network, x = normalised()
    for one, other in zip(*descents(network, x), strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    kept = network.layers[1].mean.clone()
    nets.descend(network, nets.Batch(x, x[:, :2]), loss=nets.MeanSquaredError(), learning_rate=0.1, steps=1)
    assert torch.equal(network.layers[1].mean, kept)


def test_functions_that_need_separate_samples_refuse_coupled_ones() -> None:
    network, x = normalised()
    with pytest.raises(nets.InputError, match=r"layer 1, a BatchNorm, .*; explain expected .*network\.eval\(\)"):
        nets.explain(network, x, "0.weight", (0, 0))
    with pytest.raises(nets.InputError, match=r"layer 1, a BatchNorm, .*; sample_norms expected"):
        descents(network, x, sample_norms=True)
    for name, engine in available().items():
        with pytest.raises(OutOfReachError, match="layer 1"):
            engine(network, x)
        assert name


class Mixture(nets.Layer):
    """Y_ni = Σ_m M_nm X_mi."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix.double())

    def function(self, m: Any, x: Any, matrix: Any) -> Any:
        return matrix @ x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.matrix.mT @ v


@pytest.mark.parametrize(
    "matrix",
    [torch.ones(4, 4).tril(), torch.ones(4, 4).triu(), torch.eye(4)[[0, 2, 1, 3]], torch.eye(4) + torch.eye(4)[[3]].T],
    ids=["earlier samples", "later samples", "a pair in the middle", "all on one"],
)
def test_a_dependence_between_samples_is_found_in_any_direction(matrix: Tensor) -> None:
    network, x = normalised(lambda: Mixture(matrix))
    found = nets.jacobians(network, x)
    for name, dense in by_autograd(network, x).items():
        torch.testing.assert_close(found[name].dense(), dense, **EXACT)
    assert nets.verify(network, x).passed
    with pytest.raises(nets.InputError, match=r"layer 1, a Mixture, .*; explain expected"):
        nets.explain(network, x, "0.weight", (0, 0))
    with pytest.raises(nets.InputError, match=r"layer 1, a Mixture, .*; sample_norms expected"):
        descents(network, x, sample_norms=True)
    named = nets.Network({"first": network[0], "body": network[1]})
    with pytest.raises(nets.InputError, match=r"layer body, a Mixture, .*; explain expected"):
        nets.explain(named, x, "first.weight", (0, 0))
    with pytest.raises(OutOfReachError, match="layer 1 makes the outputs for one sample depend on others"):
        available()[Method.NUMPY](network, x)


class ForwardAlone(Mixture):
    """Its pullback is that of a layer whose samples are separate."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v


class Centred(nets.Layer):
    """Y_ni = X_ni − mean_n X_ni, with the pullback of a constant mean."""

    elementwise = True

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v


@pytest.mark.parametrize(
    "layer",
    [lambda: ForwardAlone(torch.eye(4)[[0, 2, 1, 3]]), lambda: ForwardAlone(torch.ones(4, 4).tril()), Centred],
    ids=["a pair in the middle", "earlier samples", "all"],
)
def test_a_forward_that_couples_samples_is_refused_whatever_its_pullback_says(layer: Callable[[], nets.Layer]) -> None:
    network, x = normalised(layer)
    assert nets.verify(network, x).verdict == "fail"
    with pytest.raises(nets.InputError, match=r"layer 1, a \w+, .*; explain expected"):
        nets.explain(network, x, "0.weight", (0, 0))
    for engine in ("closed_form", "autograd"):
        data, loss = nets.Batch(x, x[:, :2]), nets.MeanSquaredError()
        with pytest.raises(nets.InputError, match=r"layer 1, a \w+, .*; sample_norms expected"):
            nets.descend(network, data, loss=loss, learning_rate=0.1, steps=1, engine=engine, sample_norms=True)


def test_groups_separate_any_two_of_few_samples_and_halve_many() -> None:
    for samples in (2, 3, 4, 5, 33, FEW_SAMPLES):
        groups, v = grouped_cotangents(torch.zeros(samples, 2))
        assert torch.equal(v.ne(0).all(2), groups) and torch.equal(v.ne(0).any(2), groups)
        parted = (groups[:, :, None] & ~groups[:, None]).any(0)
        assert torch.equal(parted, ~torch.eye(samples, dtype=torch.bool))
    groups, _ = grouped_cotangents(torch.zeros(FEW_SAMPLES + 1, 2))
    assert groups.sum(1).tolist() == [FEW_SAMPLES // 2, FEW_SAMPLES // 2 + 1] and groups.any(0).all()
