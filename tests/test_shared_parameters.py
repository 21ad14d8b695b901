"""A parameter with several uses: it has one name, and its derivatives are the sums over the uses."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

import nets
from nets.calculus.formulas import formulas
from nets.calculus.layers import Linear, Tanh
from nets.calculus.parameters import add_by_name, first_names
from nets.training.gradients.backpropagation import backpropagate
from nets.verification.derivations.engines import available
from tests.layers.residual import Residual

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def one_layer_twice() -> nets.Network:
    generator = torch.Generator().manual_seed(1)
    shared = Linear(4, 4, generator=generator)
    return nets.Network([shared, Tanh(), shared, Tanh(), Linear(4, 2, generator=generator)]).double()


def one_weight_at_two_depths() -> nets.Network:
    """Within a layer twice, and in the network once more, with biases of their own."""
    generator = torch.Generator().manual_seed(2)
    first, second, third = (Linear(4, 4, generator=generator) for _ in range(3))
    second.weight = third.weight = first.weight
    inner = Residual(first, Tanh(), second)
    return nets.Network([inner, Tanh(), third, Tanh(), Linear(4, 2, generator=generator)]).double()


class CountedOnce(Linear):
    """Its weight is shared, and its gradients leave it to the other use."""

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {**super().gradients(v, x, y), "weight": torch.zeros_like(self.weight)}


MAKE = pytest.mark.parametrize("make", [one_layer_twice, one_weight_at_two_depths])
X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.randn(3, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@MAKE
def test_it_is_verified_and_its_jacobian_is_the_sum_over_its_uses(make) -> None:
    network = make()
    certificate = nets.verify(network, X)
    assert certificate.passed, str(certificate)
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    expected = jacrev(lambda p: functional_call(network, p, (X,)))(parameters)
    found = nets.jacobians(network, X)
    assert list(found) == [*parameters, "input"]
    v = torch.randn(3, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for name, dense in expected.items():
        jacobian, t = found[name], parameters[name].sin()
        torch.testing.assert_close(jacobian.dense(), dense, **EXACT)
        torch.testing.assert_close(jacobian.vjp(v), torch.tensordot(v, dense, 2), **EXACT)
        torch.testing.assert_close(jacobian.jvp(t), torch.tensordot(dense, t, t.ndim), **EXACT)
        torch.testing.assert_close(jacobian.norm(), dense.norm(), **EXACT)
        index = tuple(size - 1 for size in dense.shape)
        assert jacobian.entry(*index) == pytest.approx(float(dense[index]))
        assert jacobian.shape == tuple(dense.shape) and jacobian.output_shape == (3, 2)


def test_a_use_that_is_left_out_fails() -> None:
    network = one_layer_twice()
    once = CountedOnce(4, 4).double()
    once.weight, once.bias = network.layers[0].weight, network.layers[0].bias
    wrong = nets.Network([network.layers[0], Tanh(), once, *network.layers[3:]])
    failed = {check.parameter for check in nets.verify(wrong, X).checks if check.verdict == "fail"} - {"all"}
    assert failed == {"0.weight"}


@MAKE
@pytest.mark.parametrize("sample_norms", [False, True], ids=["plain", "sample norms"])
def test_both_engines_descend_alike_and_keep_it_shared(make, sample_norms: bool) -> None:
    ends = []
    for engine in ("closed_form", "autograd"):
        network = make()
        options = {"engine": engine, "sample_norms": sample_norms, "learning_rate": 0.1, "steps": 4}
        *_, last = nets.descend(network, nets.Batch(X, TARGETS), loss=nets.MeanSquaredError(), **options)
        norms = [torch.as_tensor(last.sample_norms.values)] if sample_norms else []
        ends.append([torch.tensor(last.loss), *network.parameters(), *norms])
        assert network.shared_parameters() == make().shared_parameters() != set()
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@MAKE
@pytest.mark.parametrize("engine", list(available()))
def test_other_engines_add_up_its_uses(make, engine: str) -> None:
    network = make()
    found = available()[engine](network, X)
    for name, jacobian in nets.jacobians(network, X).items():
        torch.testing.assert_close(found[name], jacobian.dense(), **EXACT)


@MAKE
def test_other_values_reach_every_use(make) -> None:
    network = make()
    (name,) = {name for name in network.shared_parameters() if "weight" in name}
    moved = network.at({name: torch.zeros(4, 4, dtype=torch.float64)})
    assert moved.shared_parameters() == network.shared_parameters()
    expected = functional_call(network, {name: torch.zeros(4, 4, dtype=torch.float64)}, (X,))
    torch.testing.assert_close(moved(X), expected)
    assert network.get_parameter(name).abs().min() > 0


@MAKE
def test_it_has_no_formula(make) -> None:
    """A formula has one product, and the derivative is a sum over the uses."""
    network = make()
    assert network.shared_parameters().isdisjoint(formulas(network, X))


def test_it_is_explained_use_by_use() -> None:
    network, parts = one_layer_twice(), []
    for name in ("0.weight", "2.weight"):
        found = nets.explain(network, X, name, (1, 2), sample=1, output=1)
        parts.append(found.derivations["closed form"])
        assert found.paths.total * found.shared_factor == pytest.approx(parts[-1], rel=1e-12)
        for value in found.derivations.values():
            assert value == pytest.approx(parts[-1], rel=1e-6)
        assert "0.weight, 2.weight are one parameter" in str(found)
    assert sum(parts) == pytest.approx(nets.jacobians(network, X)["0.weight"].entry(1, 1, 1, 2))
    assert "are one parameter" not in str(nets.explain(network, X, "4.weight", (0, 0)))


def test_a_sequence_of_torch_with_one_layer_twice_is_converted() -> None:
    shared = nn.Linear(4, 4, dtype=torch.float64)
    module = nn.Sequential(nn.Sequential(shared, nn.Tanh()), shared)
    network = nets.Network.from_torch(module)
    assert network.shared_parameters() == {"0.0.weight", "0.0.bias"}
    module(X).square().mean().backward()
    _, found = backpropagate(network, nets.MeanSquaredError(), nets.Batch(X, torch.zeros(3, 4, dtype=X.dtype)))
    torch.testing.assert_close(found["0.0.weight"], shared.weight.grad)
    assert copy.deepcopy(network).shared_parameters() == network.shared_parameters()


class Parallel(nets.Layer):
    """Y = (f(X), g(X)), side by side."""

    def __init__(self, *layers: nets.Layer) -> None:
        super().__init__()
        self.branches = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], -1)

    def parts(self, v: Tensor, x: Tensor) -> list[tuple[nets.Layer, Tensor, Tensor]]:
        outputs = [branch(x) for branch in self.branches]
        return list(zip(self.branches, v.split([y.shape[-1] for y in outputs], -1), outputs, strict=True))

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return sum(branch.pullback(own, x, z) for branch, own, z in self.parts(v, x))

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        first, total = first_names(self), dict[str, Tensor]()
        for index, (branch, own, z) in enumerate(self.parts(v, x)):
            names = {name: first[f"branches.{index}.{name}"] for name, _ in branch.named_parameters()}
            add_by_name(total, names, branch.gradients(own, x, z))
        return total


def test_one_layer_in_two_branches() -> None:
    shared = Linear(4, 4, generator=torch.Generator().manual_seed(5))
    network = nets.Network([Parallel(nets.Network([shared, Tanh()]), shared), Linear(8, 2)]).double()
    certificate = nets.verify(network, X)
    assert certificate.passed, str(certificate)
    kept = [p.detach().clone() for p in network.parameters()]
    nets.explain(network, X, "0.branches.0.0.weight", (1, 2))
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), kept, strict=True))
    assert type(network.get_parameter("0.branches.1.weight")) is nn.Parameter
