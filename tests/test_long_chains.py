"""Many activations in a row: SymPy derives them stage by stage, and agrees with the closed form."""

import pytest
import torch

from nets.calculus.jacobians import jacobians
from nets.calculus.layers import ACTIVATIONS, Linear
from nets.calculus.network import Network
from nets.verification.derivations.engines import symbolic

X = torch.tensor([[0.3, -0.2], [0.9, 0.4]], dtype=torch.float64)


@pytest.mark.parametrize("kind", ["tanh", "sigmoid", "gelu", "softplus", "sin", "relu"])
@pytest.mark.parametrize("length", [symbolic.LONGEST - 1, symbolic.LONGEST, symbolic.LONGEST + 1, 150])
def test_sympy_derives_a_chain_of_any_length(kind: str, length: int) -> None:
    chain = [ACTIVATIONS[kind]() for _ in range(length)]
    network = Network([Linear(2, 2), *chain, Linear(2, 1), ACTIVATIONS[kind]()]).double()
    found = symbolic.jacobians(network, X)
    expected = {name: jacobian.dense() for name, jacobian in jacobians(network, X).items()}
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        # Each of 150 factors is rounded; the condition of x ↦ f(x) is at most 2 here.
        torch.testing.assert_close(found[name], one, rtol=1e-11, atol=1e-300)


def test_a_chain_without_a_linear_layer() -> None:
    network = Network([ACTIVATIONS["tanh"]() for _ in range(12)]).double()
    found, expected = symbolic.jacobians(network, X)["input"], jacobians(network, X)["input"].dense()
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
