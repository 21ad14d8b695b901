"""explain_loss: ∂ℓ/∂θ in closed form equals reverse mode, the difference, and the sum of the terms."""

import pytest
import torch

import nets
from nets.calculus.architectures import gpt
from nets.errors import InputError
from nets.explanation.explain.of_loss import explain_loss

TOKENS = torch.tensor([[1, 4, 2], [0, 3, 3]])
NEXT = torch.tensor([[4, 2, 0], [3, 3, 1]])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["blocks.0.attention.query.weight[3,2]", "token.weight[4,1]"])
def test_the_loss_of_a_gpt(name: str, tied: bool) -> None:
    network = gpt(tokens=5, context=3, width=4, heads=2, blocks=1, tied=tied)
    found = explain_loss(network, TOKENS, name, loss=nets.CrossEntropy(), targets=NEXT)
    assert found.derivations["reverse mode"] == pytest.approx(found.value, rel=1e-10, abs=1e-13)
    assert found.derivations["central difference"] == pytest.approx(found.value, rel=1e-5, abs=1e-8)
    assert abs(found.value) > 1e-6 and found.by_output.shape == found.by_point.shape == (2, 3, 5)
    assert max(map(len, str(found).splitlines())) <= 80


def test_numbers_as_targets() -> None:
    network, x = nets.mlp([3, 2]), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = explain_loss(network, x, "0.weight", (1, 2), loss=nets.MeanSquaredError(), targets=torch.ones(4, 2))
    assert found.derivations["reverse mode"] == pytest.approx(found.value, rel=1e-12)


def test_targets_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match="targets"):
        explain_loss(nets.mlp([3, 2]), torch.ones(4, 3), "0.bias[0]", loss=nets.CrossEntropy(), targets=torch.ones(3))
