"""A step on a GPU stays there, and the CPU does not wait for it.

Where there is none, tensors stand in for its own that have a shape and a device, but no numbers: to mix devices is an
error with them as it is there, and so is to look at a number, for which a GPU would be waited for and no graph could be
captured.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import nets
from nets import validation
from nets.calculus.layers import ACTIVATIONS
from nets.calculus.losses import LOSSES, MeanSquaredError
from nets.data.batch import Batch, DataSet
from nets.training.async_update import AsyncUpdate
from nets.training.gradients import sample_norms as samples
from nets.training.gradients.accumulation import accumulate
from nets.training.gradients.backpropagation import backpropagate
from nets.training.gradients.engines import Autograd
from nets.training.optimizers import SGD
from nets.training.parameters import TrainedParameters
from tests.loss_rows import ROWS

ENGINES = {"closed form": backpropagate, "autograd": Autograd(), "sample norms": samples.backpropagate_with_norms}
SETTINGS = list(itertools.product((0.0, 0.9), (0.0, 0.01)))
STEPS = [
    *itertools.product(ACTIVATIONS, LOSSES, ENGINES, [(0.9, 0.0)]),
    *itertools.product(["tanh"], ["cross_entropy"], ["closed form"], SETTINGS),
]
GPU = torch.device("meta")


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The one kernel that the stand-ins do not know: here it sees to it that all it is given is on one device."""
    calls = list[int]()

    def step(parameters: list[Any], gradients: list[Any], velocities: list[Any], found_inf: Any, **rule: Any) -> None:
        assert {tensor.device.type for tensor in (*parameters, *gradients, *velocities, found_inf)} == {"meta"}
        assert [p.shape for p in parameters] == [g.shape for g in gradients]
        calls.append(len(parameters))

    monkeypatch.setattr(torch, "_fused_sgd_", step)
    return calls


@pytest.fixture
def stand_ins() -> Iterator[None]:
    with FakeTensorMode():
        yield


def made(activation: str, loss: str) -> tuple[nets.Network, Batch]:
    network = nets.mlp([5, 6, 4], activation=activation, output=activation)
    for module in network.modules():
        for name, parameter in module._parameters.items():
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device=GPU)))
    targets = ROWS[loss].targets(torch.rand(8, 4, device=GPU))
    return network, Batch(torch.rand(8, 5, device=GPU), targets)


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(("activation", "loss", "engine", "setting"), STEPS)
def test_a_step_stays_on_the_device_and_reads_no_number(
    activation: str, loss: str, engine: str, setting: tuple[float, float], fused: list[int]
) -> None:
    network, batch = made(activation, loss)
    parameters, rule = TrainedParameters(dict(network.named_parameters())), SGD(0.1, *setting)
    update = AsyncUpdate(parameters, rule, rule.init(parameters.tensors))
    for _ in range(3):
        value, found, *_ = ENGINES[engine](network, LOSSES[loss](), batch)
        assert update(value, found) is None
    assert fused == [4, 4, 4] and update.block.values.device.type == "meta"
    with pytest.raises(DataDependentOutputException):
        update.last_check()


@pytest.mark.usefixtures("stand_ins")
def test_micro_batches_and_their_record_stay_on_the_device() -> None:
    network, batch = made("tanh", "mean_squared_error")
    value, found, accumulation = accumulate(backpropagate, network, MeanSquaredError(), batch, 3)
    assert accumulation.block is not None
    places = {value.device.type, accumulation.block.values.device.type, *(g.device.type for g in found.values())}
    assert places == {"meta"}


@pytest.mark.usefixtures("stand_ins")
def test_two_devices_are_refused_before_anything_is_computed() -> None:
    network, batch = made("tanh", "mean_squared_error")
    here = Batch(torch.rand(8, 5), torch.rand(8, 4))
    with pytest.raises(nets.InputError, match="X is on cpu and the network on meta; expected the same device"):
        nets.descend(network, here, loss=MeanSquaredError(), learning_rate=0.1, steps=1)
    with pytest.raises(nets.InputError, match="X is on meta and the network on cpu"):
        nets.descend(nets.mlp([5, 4]), batch, loss=MeanSquaredError(), learning_rate=0.1, steps=1)


@pytest.mark.usefixtures("stand_ins")
def test_data_are_moved_whole() -> None:
    batch = Batch(torch.rand(8, 5), torch.rand(8, 4))
    moved = DataSet("made", batch, batch, truth={"0.weight": torch.rand(4, 5)}).to(GPU)
    parts = (moved.train.inputs, moved.train.targets, moved.test.inputs, moved.test.targets, *moved.truth.values())
    assert {part.device.type for part in parts} == {"meta"}


@pytest.mark.parametrize(
    ("value", "count", "message"),
    [
        ("gpu", 2, r"device is 'gpu'; expected 'cpu', 'cuda' or 'cuda:1' \(one of several GPUs\)"),
        (0, 2, "device is 0; expected 'cpu'"),
        ("cuda", 0, "device is 'cuda'; expected a GPU of this machine, of which PyTorch finds none"),
        ("cuda:2", 2, "device is 'cuda:2'; expected a GPU of this machine, of which there are 2"),
    ],
)
def test_a_missing_device_is_refused(value: object, count: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(nets.InputError, match=message):
        validation.device("device", value)


def test_an_available_device_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(validation.device("device", name)) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]
