"""The chain rule in closed form against `torch.func.jacrev`, and each factored operation against the dense tensor."""

import pytest
import torch
from torch.func import functional_call, jacrev

from nets.calculus.jacobian import WeightJacobian
from nets.calculus.jacobians import jacobians
from nets.calculus.layers import Linear, Tanh
from nets.calculus.network import Network, mlp
from nets.errors import InputError
from tests.cases import NETWORKS, Case

EACH = pytest.mark.parametrize("case", NETWORKS, ids=str)
EXACT = {"rtol": 1e-12, "atol": 1e-14}


@EACH
def test_dense_equals_the_jacobian_of_reverse_mode(case: Case) -> None:
    parameters = dict(case.network.named_parameters())
    found = jacobians(case.network, case.x)
    assert list(found) == [*parameters, "input"]
    for name, parameter in parameters.items():
        expected = jacrev(lambda p, name=name: functional_call(case.network, {name: p}, (case.x,)))(parameter)
        assert found[name].shape == tuple(expected.shape)
        torch.testing.assert_close(found[name].dense(), expected, **EXACT)
        last = tuple(size - 1 for size in expected.shape)
        assert found[name].entry(*last) == float(found[name].dense()[last])


@EACH
def test_the_input_jacobian_has_one_block_for_each_sample(case: Case) -> None:
    block = jacobians(case.network, case.x)["input"].dense()
    full = jacrev(case.network)(case.x)
    for n in range(len(case.x)):
        for m in range(len(case.x)):
            expected = block[n] if n == m else torch.zeros_like(block[n])
            torch.testing.assert_close(full[n, :, m, :], expected, **EXACT)


@EACH
def test_factored_products_equal_those_of_the_dense_tensor(case: Case) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, jacobian in jacobians(case.network, case.x).items():
        dense = jacobian.dense()
        v = torch.randn(dense.shape[:2], generator=generator, dtype=torch.float64)
        if name == "input":
            t = torch.randn(case.x.shape, generator=generator, dtype=torch.float64)
            vjp, jvp = torch.einsum("nk,nkj->nj", v, dense), torch.einsum("nkj,nj->nk", dense, t)
        else:
            t = torch.randn(dense.shape[2:], generator=generator, dtype=torch.float64)
            vjp, jvp = torch.tensordot(v, dense, 2), torch.tensordot(dense, t, t.ndim)
        torch.testing.assert_close(jacobian.vjp(v), vjp, **EXACT)
        torch.testing.assert_close(jacobian.jvp(t), jvp, **EXACT)
        torch.testing.assert_close(jacobian.norm(), dense.norm(), **EXACT)


def test_formula_of_the_exercise() -> None:
    """Document 003: Y = tanh(W X + B) has ∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j and ∂Y_k/∂B_i = δ_ki (1 − Y_k²)."""
    network = mlp([3, 2], generator=torch.Generator().manual_seed(1)).double()
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = network(x).tolist()
    found = jacobians(network, x)
    weight, bias = found["0.weight"].dense(), found["0.bias"].dense()
    for n in range(4):
        for k in range(2):
            for i in range(2):
                slope = (k == i) * (1 - y[n][k] ** 2)
                assert bias[n, k, i].item() == pytest.approx(slope, rel=1e-14)
                for j in range(3):
                    assert weight[n, k, i, j].item() == pytest.approx(slope * x[n, j].item(), rel=1e-14)


def test_chain_of_the_source_document() -> None:
    """Document 003: z = tanh(tanh x) at x = 2 has dz/dx = 0.0313, and no parameter."""
    found = jacobians(Network([Tanh(), Tanh()]), torch.tensor([[2.0]]))
    assert list(found) == ["input"]
    assert round(found["input"].dense().item(), 4) == 0.0313


def test_only_dense_forms_every_entry() -> None:
    """N = 64 and 512 → 512 → 10: the dense ∂Y/∂W of the first layer alone has 64·10·512·512 entries, 671 MB in
    float32."""
    network = mlp([512, 512, 10])
    x = torch.randn(64, 512, generator=torch.Generator().manual_seed(0))
    found = jacobians(network, x)  # the first call loads and caches, which is not counted
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        found = jacobians(network, x)
        for name, jacobian in found.items():
            jacobian.norm()
            jacobian.vjp(torch.ones(64, 10))
            jacobian.jvp(torch.ones(x.shape if name == "input" else jacobian.shape[2:]))
    allocated = sum(max(0, event.self_cpu_memory_usage) for event in profile.events())
    # The sum of all allocations, which is at least the peak.
    assert 1e6 < allocated < 100e6
    assert found["0.weight"].shape == (64, 10, 512, 512)


def test_the_network_is_not_changed() -> None:
    network = mlp([3, 2]).double()
    x = torch.ones(2, 3, dtype=torch.float64)
    assert not jacobians(network, x)["0.weight"].dense().requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "input"])
def test_a_vector_of_a_wrong_shape_is_refused(name: str) -> None:
    jacobian = jacobians(Network([Linear(3, 2)]), torch.ones(4, 3))[name]
    with pytest.raises(InputError, match=r"v has the shape \(4,\); expected \(4, 2\)"):
        jacobian.vjp(torch.ones(4))
    with pytest.raises(InputError, match=r"t has the shape \(7,\)"):
        jacobian.jvp(torch.ones(7))


def test_the_input_jacobian_belongs_to_the_parameters_at_the_call_of_jacobians() -> None:
    network, x = mlp([3, 4, 2]).double(), torch.rand(5, 3, dtype=torch.float64)
    at_once, late = jacobians(network, x)["input"].dense(), jacobians(network, x)["input"]
    for parameter in network.parameters():
        parameter.data.mul_(2)
    assert torch.equal(late.dense(), at_once)


def test_a_dense_jacobian_of_zeros_and_few_numbers_is_the_product() -> None:
    """One layer has A_nki = δ_ki f′, nearly all zeros; an infinite X is multiplied by these zeros, too."""
    network, x = mlp([6, 20]), torch.rand(3, 6)
    for given in (x, x.index_fill(1, torch.tensor([2]), torch.inf)):
        found = jacobians(network, given)["0.weight"]
        assert isinstance(found, WeightJacobian)
        torch.testing.assert_close(
            found.dense(), found.a[..., None] * given[:, None, None, :], rtol=0, atol=0, equal_nan=True
        )
