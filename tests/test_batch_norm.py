"""BatchNorm in training: the samples of a batch are coupled, and the running statistics move."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import BatchNorm1d, Linear, Tanh
from tests.layer_case import as_class, seeded

EXACT = {"rtol": 1e-12, "atol": 1e-12}
X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vectors": (lambda: nn.BatchNorm1d(3), (4, 3)),
    "positions": (lambda: nn.BatchNorm1d(3, eps=0.1, momentum=0.3), (4, 3, 2)),
    "images": (lambda: nn.BatchNorm2d(3, momentum=None), (4, 3, 2, 2)),
    "without parameters": (lambda: nn.BatchNorm2d(3, affine=False), (4, 3, 2, 2)),
    "nothing tracked": (lambda: nn.BatchNorm1d(3, track_running_stats=False), (4, 3)),
    "nothing tracked, evaluation mode": (lambda: nn.BatchNorm1d(3, track_running_stats=False).eval(), (4, 3)),
}


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", MODULES)
def test_outputs_statistics_and_both_gradients_equal_those_of_torch(name: str) -> None:
    make, shape = MODULES[name]
    module, layer = seeded(make), nets.Network.from_torch(seeded(make)).layers[0]
    for seed in range(3):
        x = drawn(shape, seed).requires_grad_()
        expected, y = module(x), layer(x)
        torch.testing.assert_close(y, expected, **EXACT)
        torch.testing.assert_close(dict(layer.state_dict()), dict(module.state_dict()), **EXACT)
        v = drawn(shape, 9)
        by_input, *by_parameter = torch.autograd.grad((v * expected).sum(), [x, *module.parameters()])
        torch.testing.assert_close(layer.pullback(v, x.detach(), y), by_input, **EXACT)
        found = layer.gradients(v, x.detach(), y)
        for (parameter, _), gradient in zip(module.named_parameters(), by_parameter, strict=True):
            torch.testing.assert_close(found[parameter], gradient, **EXACT)


@pytest.mark.parametrize("name", MODULES)
def test_its_pushforward_is_the_transpose_of_its_pullback(name: str) -> None:
    make, shape = MODULES[name]
    layer, x = nets.Network.from_torch(seeded(make)).layers[0], drawn(shape, 0)
    y, v, t = layer(x).detach(), drawn((2, *shape), 1), drawn((2, *shape), 2)
    torch.testing.assert_close((v * layer.pushforward(t, x, y)).sum(), (layer.pullback(v, x, y) * t).sum(), **EXACT)
    tangents = {parameter: p.detach().cos() for parameter, p in layer.named_parameters()}
    if tangents:
        found = layer.gradients(v[0], x, y)
        pulled = torch.stack([(found[parameter] * t).sum() for parameter, t in tangents.items()]).sum()
        torch.testing.assert_close((v[0] * layer.parameter_pushforward(tangents, x, y)).sum(), pulled, **EXACT)


def network(kind: type[nets.Layer] = BatchNorm1d) -> nets.Network:
    generator = torch.Generator().manual_seed(2)
    layer = nets.Network.from_torch(seeded(lambda: nn.BatchNorm1d(4))).layers[0]
    first, last = (Linear(*sizes, bias=bias, generator=generator) for *sizes, bias in ((3, 4, False), (4, 2, True)))
    return nets.Network([first, as_class(kind, layer), Tanh(), last]).double()


class StatisticsHeldConstant(BatchNorm1d):
    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        return self.normal(x)[1] * u


class WithoutTheVariance(BatchNorm1d):
    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        return self.normal(x)[1] * (u - u.mean(self._axes(x), keepdim=True))


class BiasAveraged(BatchNorm1d):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {**super().gradients(v, x, y), "bias": v.mean(0)}


def test_it_is_verified_through_the_batch() -> None:
    made = network()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    certificate = nets.verify(made, X)
    assert certificate.passed, str(certificate)
    torch.testing.assert_close(dict(made.state_dict()), before, rtol=0, atol=0)


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (StatisticsHeldConstant, {"0.weight", "input"}),
        (WithoutTheVariance, {"0.weight", "input"}),
        (BiasAveraged, {"1.bias"}),
    ],
)
def test_a_wrong_one_fails_and_is_named(kind: type[nets.Layer], expected: set[str]) -> None:
    certificate = nets.verify(network(kind), X)
    failed = {check.parameter for check in certificate.checks if check.verdict == "fail"} - {"all"}
    assert failed == expected, str(certificate)
    assert kind.__name__ in str(certificate)


def test_the_jacobians_go_through_the_batch() -> None:
    made = network()
    found = nets.jacobians(made, X)
    x = X.clone().requires_grad_()
    y, points = made(x), {**dict(made.named_parameters()), "input": x}
    for name, point in points.items():
        rows = [torch.autograd.grad(number, point, retain_graph=True)[0] for number in y.flatten()]
        expected = torch.stack(rows).reshape(*y.shape, *point.shape)
        torch.testing.assert_close(found[name].dense(), expected, rtol=1e-10, atol=1e-12)


def trained(engine: str, **options: Any) -> nets.Network:
    options |= {"engine": engine, "learning_rate": 0.1, "steps": 4, "loss": nets.MeanSquaredError()}
    made = network()
    list(nets.descend(made, nets.Batch(X, X[:, :2]), **options))
    return made


def test_both_engines_descend_alike_and_move_the_statistics_alike() -> None:
    one, other = (dict(trained(engine).state_dict()) for engine in ("closed_form", "autograd"))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert int(one["1.num_batches_tracked"]) == 4


def test_a_sample_has_no_gradient_of_its_own() -> None:
    layer = network().layers[1]
    x = drawn((5, 4), 1)
    with pytest.raises(nets.InputError, match=r"BatchNorm1d .*batch.*eval\(\)"):
        layer.sample_norms(x, x, layer(x))
    with pytest.raises(nets.InputError, match="BatchNorm1d"):
        trained("closed_form", sample_norms=True)


@pytest.mark.parametrize(
    ("shape", "fact"),
    [((1, 4), "one number of each channel"), ((5, 3), "4 channels"), ((5, 4, 2, 2), "2 axes or 3 axes")],
)
def test_bad_input_is_refused_in_a_sentence(shape: tuple[int, ...], fact: str) -> None:
    with pytest.raises(nets.InputError, match=fact):
        BatchNorm1d(4)(torch.zeros(shape))
