"""A layer of a user's own is verified, differentiated and trained like those of the package, without a line elsewhere."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Linear, Tanh
from tests.own_layers import OWN, LayerNorm, Scale

X = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
T = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network(layer: nets.Layer) -> nets.Network:
    generator = torch.Generator().manual_seed(2)
    first, last = Linear(3, 4, generator=generator), Linear(4, 2, generator=generator)
    return nets.Network([first, layer, Tanh(), last]).double()


EACH = pytest.mark.parametrize("name", OWN)


@EACH
def test_it_is_verified(name: str) -> None:
    certificate = nets.verify(network(OWN[name]()), X)
    assert certificate.passed, str(certificate)
    assert {check.parameter for check in certificate.checks} >= set(dict(network(OWN[name]()).named_parameters()))


@EACH
def test_its_pushforward_is_the_transpose_of_its_pullback(name: str) -> None:
    """⟨v, J t⟩ = ⟨Jᵀ v, t⟩, with a further axis in front; and the same of its parameters."""
    layer, generator = OWN[name](), torch.Generator().manual_seed(3)
    x, v, t = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((5, 4), (2, 5, 4), (2, 5, 4)))
    y = layer(x)
    torch.testing.assert_close((v * layer.pushforward(t, x, y)).sum(), (layer.pullback(v, x, y) * t).sum())
    tangents = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in layer.named_parameters()}
    if tangents:
        gradients = layer.gradients(v[0], x, y)
        pulled = sum((gradients[n] * tangent).sum() for n, tangent in tangents.items())
        torch.testing.assert_close((v[0] * layer.parameter_pushforward(tangents, x, y)).sum(), pulled)


@EACH
def test_its_jacobians_are_those_of_autograd(name: str) -> None:
    own = network(OWN[name]())
    for parameter, found in nets.jacobians(own, X).items():
        if parameter == "input":
            continue
        point = own.get_parameter(parameter)

        def output(p: Tensor, parameter: str = parameter) -> Any:
            return torch.func.functional_call(own, {parameter: p}, (X,))

        torch.testing.assert_close(found.dense(), torch.autograd.functional.jacobian(output, point.detach()))
        v, t = torch.ones(3, 2, dtype=torch.float64), torch.ones_like(point)
        torch.testing.assert_close(found.vjp(v), found.dense().sum((0, 1)))
        torch.testing.assert_close(found.jvp(t), found.dense().flatten(2).sum(2))
        torch.testing.assert_close(found.norm(), found.dense().norm())
        index = (1, 1, *(0 for _ in point.shape))
        assert found.entry(*index) == pytest.approx(float(found.dense()[index]))


@EACH
@pytest.mark.parametrize("sample_norms", [False, True], ids=["plain", "sample norms"])
def test_both_engines_descend_alike(name: str, sample_norms: bool) -> None:
    ends = []
    for engine in ("closed_form", "autograd"):
        own = network(OWN[name]())
        options: dict[str, Any] = {"engine": engine, "sample_norms": sample_norms, "learning_rate": 0.1, "steps": 4}
        *_, last = nets.descend(own, nets.Batch(X, T), loss=nets.MeanSquaredError(), **options)
        ends.append([last.loss, *(p.detach().clone() for p in own.parameters())])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other)


class WrongPullback(Scale):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 1.1 * v * self.weight


class WrongGradient(Scale):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": -(v * x).sum(0)}


class MeanOfSamples(LayerNorm):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * self.normal(x)[0]).mean(0)}


@pytest.mark.parametrize("wrong", [WrongPullback, WrongGradient, MeanOfSamples])
def test_a_wrong_one_fails(wrong: type[nets.Layer]) -> None:
    assert nets.verify(network(wrong(4)), X).verdict == "fail"  # type: ignore[call-arg]


class WithoutGradients(nets.Layer):
    """A parameter, and nothing said of its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * self.weight


def test_what_a_layer_does_not_state_is_told() -> None:
    own = network(WithoutGradients())
    for call in (lambda: nets.verify(own, X), lambda: nets.jacobians(own, X)):
        with pytest.raises(nets.InputError, match="WithoutGradients has the parameter weight and no gradients; expected a layer"):
            call()
