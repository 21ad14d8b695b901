"""A layer of a user's own is verified, differentiated, explained and trained like the package's, without a line
elsewhere."""

import inspect
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call, jacrev

import nets
from nets.calculus.formulas import formulas
from nets.calculus.function import closed_form
from nets.calculus.layers import ACTIVATIONS
from nets.training.gradients.backpropagation import backpropagate
from nets.training.replay.replayed import Replayed
from nets.verification.derivations.engines import OutOfReachError, available
from nets.verification.derivations.engines.reading import portable
from tests.layer_case import LayerCase
from tests.own_layers import CASES, OWN, marked

EACH = pytest.mark.parametrize("name", [marked(name) for name in CASES])
EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize("name", OWN)
def test_it_is_one_class_of_under_25_lines(name: str) -> None:
    assert len(inspect.getsource(type(CASES[name].layer())).splitlines()) < 25


@pytest.mark.usefixtures("fast_gradcheck")
@EACH
def test_it_is_verified(name: str) -> None:
    """`test_its_function_is_differentiated_by_the_tools_of_autograd` runs gradcheck entry by entry."""
    case = CASES[name]
    certificate = nets.verify(case.network(), case.x)
    assert certificate.passed, str(certificate)
    expected = {parameter for parameter, _ in case.network().named_parameters()}
    expected |= {"input"} if case.x.is_floating_point() else set()
    assert {check.parameter for check in certificate.checks} >= expected


def dense_by_autograd(network: nets.Network, x: Tensor) -> dict[str, Tensor]:
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    found = jacrev(lambda p: functional_call(network, p, (x,)))(parameters)
    if not x.is_floating_point():
        return found
    full = jacrev(network)(x).detach()  # (N, *K, N, *S)
    outputs = network(x).ndim
    each = [full.movedim(outputs, 1)[n, n] for n in range(len(x))]
    return {**found, "input": torch.stack(each)}


def by_reverse_mode(network: nets.Network, name: str, x: Tensor, v: Tensor) -> Tensor:
    x = x.clone().requires_grad_(name == "input")
    point = x if name == "input" else network.get_parameter(name)
    return torch.autograd.grad((v * network(x)).sum(), point)[0]


@EACH
def test_its_jacobians_are_those_of_autograd(name: str) -> None:
    case = CASES[name]
    network, y = case.network(), case.network()(case.x)
    expected = dense_by_autograd(network, case.x)
    found = nets.jacobians(network, case.x)
    assert list(found) == list(expected)
    generator = torch.Generator().manual_seed(4)
    for parameter, jacobian in found.items():
        dense = expected[parameter]
        torch.testing.assert_close(jacobian.dense(), dense, **EXACT)
        assert jacobian.shape == tuple(dense.shape) and jacobian.output_shape == tuple(y.shape)
        point = case.x if parameter == "input" else network.get_parameter(parameter)
        v, t = (torch.randn(shape, generator=generator, dtype=y.dtype) for shape in (y.shape, point.shape))
        gradient = by_reverse_mode(network, parameter, case.x, v)
        torch.testing.assert_close(jacobian.vjp(v), gradient, **EXACT)
        torch.testing.assert_close((jacobian.jvp(t) * v).sum(), (gradient * t).sum(), **EXACT)
        torch.testing.assert_close(jacobian.norm(), dense.norm(), **EXACT)
        index = tuple(size - 1 for size in dense.shape)
        assert jacobian.entry(*index) == pytest.approx(float(dense[index]), rel=1e-9, abs=1e-12)


@EACH
def test_its_pushforwards_are_the_transposes_of_its_pullbacks(name: str) -> None:
    """⟨v, J t⟩ = ⟨Jᵀ v, t⟩, with a further axis in front; and the same of its parameters."""
    case = CASES[name]
    layer, generator = case.network().layers[case.number], torch.Generator().manual_seed(3)
    x = case.network().trace(case.x)[case.number].detach()
    y = layer(x)
    v, t = (torch.randn((2, *point.shape), generator=generator, dtype=torch.float64) for point in (y, x))
    if x.is_floating_point():
        torch.testing.assert_close((v * layer.pushforward(t, x, y)).sum(), (layer.pullback(v, x, y) * t).sum())
    tangents = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in layer.named_parameters()}
    if tangents:
        found = layer.gradients(v[0], x, y)
        pulled = sum((found[n] * tangent).sum() for n, tangent in tangents.items())
        torch.testing.assert_close((v[0] * layer.parameter_pushforward(tangents, x, y)).sum(), pulled)


@EACH
def test_its_sample_gradients_add_up_to_its_gradients(name: str) -> None:
    case = CASES[name]
    layer, x = case.network().layers[case.number], case.network().trace(case.x)[case.number].detach()
    y = layer(x)
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(5), dtype=y.dtype)
    each, norms = layer.sample_gradients(v, x, y), layer.sample_norms(v, x, y)
    for parameter, gradient in layer.gradients(v, x, y).items():
        torch.testing.assert_close(each[parameter].sum(0), gradient)
        torch.testing.assert_close(norms[parameter], each[parameter].flatten(1).norm(dim=1))


@EACH
def test_its_function_is_differentiated_by_the_tools_of_autograd(name: str) -> None:
    case = CASES[name]
    network = case.network()
    names = [name for name, _ in network.named_parameters()]
    x = case.x.clone().requires_grad_(case.x.is_floating_point())
    points = [x, *(p.detach().clone().requires_grad_() for p in network.parameters())]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return closed_form(network, x, dict(zip(names, parameters, strict=True)))

    assert gradcheck(function, points, check_forward_ad=True)


@EACH
def test_every_formula_computes_the_entry_that_it_writes(name: str) -> None:
    case = CASES[name]
    network = case.network()
    jacobians = nets.jacobians(network, case.x)
    found = formulas(network, case.x)
    missing = set(jacobians) - set(found)
    assert not missing
    for parameter, formula in found.items():
        for n in range(len(case.x)):
            torch.testing.assert_close(formula.numbers(n), jacobians[parameter].dense()[n], **EXACT)


def trained(case: LayerCase, engine: str, sample_norms: bool) -> list[Tensor]:
    network = case.network()
    options: dict[str, Any] = {"engine": engine, "sample_norms": sample_norms, "learning_rate": 0.1, "steps": 4}
    *_, last = nets.descend(network, nets.Batch(case.x, case.target()), loss=nets.MeanSquaredError(), **options)
    samples = [torch.as_tensor(last.sample_norms.values)] if sample_norms and last.sample_norms is not None else []
    return [torch.tensor(last.loss), *(p.detach() for p in network.parameters()), *samples]


@EACH
@pytest.mark.parametrize("sample_norms", [False, True], ids=["plain", "sample norms"])
def test_both_engines_descend_alike(name: str, sample_norms: bool) -> None:
    ends = [trained(CASES[name], engine, sample_norms) for engine in ("closed_form", "autograd")]
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@EACH
def test_replayed_operations_give_what_the_layer_gives(name: str) -> None:
    case = CASES[name]
    network, loss, replayed = case.network(), nets.MeanSquaredError(), Replayed(backpropagate)
    for scale in (1.0, -0.7, 0.3):  # the first batch is recorded, the others are replayed
        x = scale * case.x if case.x.is_floating_point() else case.x.roll(round(10 * scale), 1)
        batch = nets.Batch(x, case.target())
        expected = backpropagate(network, loss, batch)
        value, found = replayed(network, loss, batch)
        torch.testing.assert_close(value, expected[0], **EXACT)
        for parameter, gradient in expected[1].items():
            torch.testing.assert_close(found[parameter], gradient, **EXACT)
    assert all(replay.recording is not None for replay in replayed._replays.values())


@EACH
def test_every_parameter_is_explained(name: str) -> None:
    case = CASES[name]
    network = case.network()
    jacobians = nets.jacobians(network, case.x)
    for parameter, point in network.named_parameters():
        index = (0,) * point.ndim
        found = nets.explain(network, case.x, parameter, index, sample=1)
        k = torch.unravel_index(torch.tensor(found.output), jacobians[parameter].output_shape[1:])
        expected = jacobians[parameter].entry(1, *map(int, k), *index)
        assert found.derivations["closed form"] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        for derivation, value in found.derivations.items():
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-7), derivation


@EACH
def test_a_module_of_torch_becomes_the_layer(name: str) -> None:
    case = CASES[name]
    module = case.torch()
    network = nets.Network.from_torch(nn.Sequential(module, nn.Tanh()))
    assert type(network.layers[0]) is type(case.layer())
    assert [p is q for p, q in zip(network.parameters(), module.parameters(), strict=True)] == [True] * len(
        list(module.parameters())
    )
    x = case.network().trace(case.x)[case.number]
    torch.testing.assert_close(network.layers[0](x), module(x))
    torch.testing.assert_close(network.layers[0](x), case.layer()(x))


@pytest.mark.parametrize(
    ("name", "engine"), list(itertools.product(CASES, ["NumPy by hand", "SymPy", "TensorFlow", "JAX"]))
)
def test_engines_differentiate_a_forward_over_their_functions(name: str, engine: str) -> None:
    if engine not in available():
        pytest.skip(f"{engine} is not installed: it comes with the extra 'oracles'")
    case = CASES[name]
    network = case.network()
    bound = [part for part in case.layer().modules() if isinstance(part, nets.Layer) and not portable(part)]
    if bound:
        name = rf"layer {case.number}\S* is a {type(bound[0]).__name__}"
        with pytest.raises(OutOfReachError, match=f"{name}.*PyTorch alone"):
            available()[engine](network, case.x)
        return
    found = available()[engine](network, case.x)
    for parameter, jacobian in nets.jacobians(network, case.x).items():
        torch.testing.assert_close(found[parameter], jacobian.dense(), **EXACT)


class Wrapped(nets.Layer):
    """Y = W X + B by a module of torch inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v @ self.inner.weight

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"inner.weight": v.mT @ x, "inner.bias": v.sum(0)}


def test_parameters_of_modules_inside_a_layer_are_verified() -> None:
    with torch.random.fork_rng():
        layer = Wrapped()
    weight = layer.inner.weight
    moved = layer.at({"inner.bias": torch.zeros(4, dtype=torch.float64)})
    assert moved.inner.weight is weight and not moved.inner.bias.any() and layer.inner.bias.any()
    certificate = nets.verify(CASES["scale"].network(layer), CASES["scale"].x)
    assert certificate.passed, str(certificate)
    assert {"1.inner.weight", "1.inner.bias"} <= {check.parameter for check in certificate.checks}


def test_an_activation_with_a_name_is_known_to_mlp() -> None:
    own = dict(ACTIVATIONS)
    try:

        class Softsign(nets.Activation, known_as="softsign"):
            symbol = "(1 − [{z} > 0]{y} + [{z} < 0]{y})²"

            def forward(self, x: Tensor) -> Tensor:
                return x / (1 + x.abs())

            def slope(self, z: Tensor, y: Tensor) -> Tensor:
                return (1 - y.abs()) ** 2

        network = nets.mlp([3, 2], output="softsign").double()
        x = CASES["scale"].x
        assert nets.verify(network, x).passed
        found = formulas(network, x)["0.bias"]
        torch.testing.assert_close(found.numbers(1), nets.jacobians(network, x)["0.bias"].dense()[1])
        with pytest.raises(nets.InputError, match="the name of Again is 'softsign', which Softsign has"):

            class Again(Softsign, known_as="softsign"):
                pass
    finally:
        ACTIVATIONS.clear()
        ACTIVATIONS.update(own)


class OnlyGradients(nets.Linear):
    """Its Jacobians are those of Linear, and its gradients, with which it is trained, are wrong."""

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {**super().gradients(v, x, y), "weight": v.mT @ x.tanh()}


def test_the_gradients_that_training_uses_are_verified_beside_faster_jacobians() -> None:
    case = CASES["scale"]
    certificate = nets.verify(case.network(OnlyGradients(4, 4)), case.x)
    failed = {check.parameter for check in certificate.checks if check.verdict == "fail"} - {"all"}
    assert failed == {"1.weight"}, str(certificate)
