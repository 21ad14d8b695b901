"""nets.explain on a GPT: names of layers, full names of parameters, and numbers equal to those of reverse mode."""

import math

import pytest
import torch

import nets
from nets.calculus.architectures import gpt
from nets.calculus.layers import Linear, Tanh
from nets.explanation.document import WIDTH

TOKENS = torch.tensor([[1, 4, 2], [0, 3, 3]])


@pytest.mark.parametrize(
    "name",
    ["blocks.0.attention.query.weight[3,2]", "blocks.0.norm_1.weight[3]", "blocks.0.mlp.2.bias[1]", "norm.weight[0]"],
)
def test_a_number_within_a_block_is_explained(name: str) -> None:
    network = gpt(tokens=5, context=3, width=4, heads=2, blocks=1)
    found = nets.explain(network, TOKENS, name, sample=1, output=(2, 3))
    double = gpt(tokens=5, context=3, width=4, heads=2, blocks=1).double()
    double.load_state_dict(network.state_dict())
    (gradient,) = torch.autograd.grad(double(TOKENS)[1, 2, 3], double.get_parameter(found.name))
    expected = float(gradient[found.index])
    assert math.isclose(found.value, expected, rel_tol=1e-10, abs_tol=1e-14)
    assert math.isclose(found.paths.total * found.shared_factor, expected, rel_tol=1e-10, abs_tol=1e-14)
    assert all(math.isclose(each.value, expected, rel_tol=1e-10, abs_tol=1e-14) for each in found.notations)


def test_layers_and_parameters_have_the_names_of_the_network() -> None:
    found = nets.explain(gpt(tokens=5, context=3, width=4, heads=2, blocks=1), TOKENS, "blocks.0.mlp.0.weight[3,2]")
    assert [factor.layer for factor in found.factors] == ["head Linear", "norm LayerNorm", "blocks Network"]
    assert "∂blocks.0.mlp.0.weight_ij" in found.formula
    assert found.factors[-1].derivative.endswith("/∂blocks.0.mlp.0.weight_3,2")
    assert all("∂θ" in each.statement for each in found.notations[:3])


def test_it_fits_a_terminal_and_says_which_entry_of_the_output_is_meant() -> None:
    network = gpt(tokens=5, context=3, width=4, heads=2, blocks=1)
    found = nets.explain(network, TOKENS, "blocks.0.attention.query.weight[3,2]", output=(2, 1))
    text = str(found).splitlines()
    assert max(map(len, text)) <= WIDTH, max(text, key=len)
    assert any("Y_11 is [2,1]" in line for line in text)
    assert any("∂H3_" in line and "∂θ" in line for line in text)


def test_a_picture_of_units_names_the_parameters_as_the_network_does() -> None:
    network = nets.Network({"first": Linear(2, 3), "slope": Tanh(), "head": Linear(3, 1)})
    gradients = nets.picture(network, torch.ones(1, 2)).gradients
    network(torch.ones(1, 2))[0, 0].backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[name].float(), parameter.grad)
