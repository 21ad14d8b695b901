"""Networks are `torch.nn` sequences: same keys, same numbers, shared parameters."""

import pytest
import torch
from torch import nn

from nets.calculus.layers import Linear, Tanh
from nets.calculus.network import Network, mlp
from nets.errors import InputError
from tests.cases import NETWORKS, Case


def _torch_twin() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.GELU())


def test_state_dicts_go_both_ways() -> None:
    ours, theirs = mlp([3, 4, 2], output="gelu", generator=torch.Generator().manual_seed(5)), _torch_twin()
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
    fresh = mlp([3, 4, 2], output="gelu")
    fresh.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(fresh(x), theirs(x))
    assert list(ours.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_from_torch_shares_the_parameters() -> None:
    theirs = _torch_twin()
    ours = Network.from_torch(theirs)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours[0].weight is theirs[0].weight and ours[2].bias is theirs[2].bias


def test_from_torch_takes_every_known_layer_and_a_single_one() -> None:
    layers = [
        nn.Linear(2, 2, bias=False),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.Softplus(),
        nn.GELU(),
    ]
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for layer in [nn.Identity(), *layers]:
        torch.testing.assert_close(Network.from_torch(layer.double())(x), layer(x.clone()))
    assert [type(layer).__name__ for layer in Network.from_torch(nn.Sequential(*layers))] == [
        "Linear", "Tanh", "Sigmoid", "ReLU", "ReLU", "Softplus", "GELU",
    ]  # fmt: skip


@pytest.mark.parametrize("layer", [nn.Conv3d(1, 1, 1), nn.Softplus(beta=2), nn.Softmax(), nn.CELU()])
def test_from_torch_refuses_a_module_that_has_no_layer(layer: nn.Module) -> None:
    with pytest.raises(InputError, match=r"layer 1 is .*expected one of .*nets.register"):
        Network.from_torch(nn.Sequential(nn.Linear(1, 1), layer))


def test_a_network_of_torch_modules_is_refused() -> None:
    with pytest.raises(InputError, match=r"layer 0 of a Network is a Tanh; .*from_torch"):
        Network([nn.Tanh()])  # type: ignore[list-item]


def test_a_layer_may_stand_in_a_network_twice_and_a_network_in_another() -> None:
    shared = Linear(2, 2)
    network = Network([shared, Tanh(), Network([shared, Tanh()])])
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias"]
    assert network.parameter_names()[2] == {"0.weight": "0.weight", "0.bias": "0.bias"}


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_trace_holds_every_layers_output(case: Case) -> None:
    values = case.network.trace(case.x)
    assert len(values) == len(case.network) + 1
    assert values[0] is case.x
    torch.testing.assert_close(values[-1], case.network(case.x), rtol=0, atol=0)


def test_mlp_has_the_layers_of_its_arguments() -> None:
    kinds = [type(layer).__name__ for layer in mlp([4, 3, 3, 2], activation="relu", output="tanh+tanh")]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear", "Tanh", "Tanh"]
    assert [type(layer).__name__ for layer in mlp([4, 2], output="identity")] == ["Linear"]


@pytest.mark.parametrize("sizes", [[64], [], [3, 0], [3, 2.5], [3, "2"], 64, "64", [3, True]])
def test_impossible_sizes_are_refused(sizes: object) -> None:
    with pytest.raises(InputError, match="expected two or more whole numbers"):
        mlp(sizes)  # type: ignore[arg-type]


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(InputError, match="the activation is 'tahn'; expected one of tanh, sigmoid"):
        mlp([2, 2, 2], activation="tahn")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3), "use x\\[None\\]"),
        (torch.zeros(0, 3), "at least one sample"),
        (torch.zeros(2, 3, dtype=torch.float64), "X is torch.float64 and the network torch.float32"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mlp([3, 2]).check(x)
