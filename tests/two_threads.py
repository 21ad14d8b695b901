"""What depends on the number of threads; `test_two_threads` runs this file in a process with two. See
MULTITHREAD_FROM."""

import itertools

import pytest
import torch

import nets
from nets.data.batch import Batch
from nets.training.gradients.backpropagation import backpropagate
from nets.training.gradients.engines import GRADIENT_ENGINES
from nets.training.loop import MULTITHREAD_FROM
from nets.training.replay.recording import Recording, tensors, watched

WIDE = 1024
"""Rows of 4,096 bytes in float32: where there are several threads a recording leaves a gap between them."""


def data(samples: int, width: int, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.randn(samples, width, generator=generator), torch.rand(samples, 10, generator=generator)).to(
        dtype
    )


def test_there_are_two_threads() -> None:
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_recording_with_gaps_between_rows_gives_what_the_formulas_give(activation: str, dtype: torch.dtype) -> None:
    network = nets.mlp([64, WIDE, WIDE, 10], activation, generator=torch.Generator().manual_seed(1)).to(dtype)
    batch, loss = data(64, 64, dtype), nets.MeanSquaredError()
    recording = Recording(watched(lambda: backpropagate(network, loss, batch))[0])
    strides = {tensor.stride(0) for call in recording._calls for tensor in tensors(getattr(call, "keywords", {}))}
    assert any(stride % 4096 and stride > WIDE for stride in strides)
    batch.inputs.normal_(generator=torch.Generator().manual_seed(2))
    recording.replay()
    eps = torch.finfo(dtype).eps
    value, gradients = backpropagate(network, loss, batch)
    for one, other in zip(
        (recording.result[0], *recording.result[1].values()), (value, *gradients.values()), strict=True
    ):
        assert (one - other).abs().max() <= 1e3 * eps * other.abs().max()


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
@pytest.mark.parametrize("width", [16, WIDE])
def test_a_step_takes_one_thread_where_it_is_small_and_gives_the_others_back(engine: str, width: int) -> None:
    seen: list[int] = []

    class Watched(nets.MeanSquaredError):
        recordable = False

        def forward(self, y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(y, target)

    network = nets.mlp([64, width, width, 10], output="identity")
    size = sum(parameter.numel() for parameter in network.parameters())
    steps = nets.descend(
        network, data(640, 64), loss=Watched(), learning_rate=0.01, batch_size=64, steps=3, engine=engine
    )
    for _ in steps:
        assert torch.get_num_threads() == 2
    assert set(seen[1:]) == {2 if 64 * size >= MULTITHREAD_FROM else 1} and len(seen) >= 3


def test_an_error_in_a_step_gives_the_threads_back() -> None:
    class Broken(nets.MeanSquaredError):
        recordable = False

        def gradient(self, y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            raise KeyError("by the user")

    steps = nets.descend(nets.mlp([64, 10]), data(8, 64), loss=Broken(), learning_rate=0.1, steps=1)
    with pytest.raises(KeyError, match="by the user"):
        next(steps)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"micro_batch_size": 24}, {"sample_norms": True}], ids=str)
def test_engines_follow_one_trajectory(settings: dict[str, object]) -> None:
    found = []
    for engine in GRADIENT_ENGINES:
        network = nets.mlp([64, WIDE, 10], output="identity", generator=torch.Generator().manual_seed(1)).double()
        steps = nets.descend(
            network, data(640, 64, torch.float64), loss=nets.MeanSquaredError(), learning_rate=0.01, batch_size=64,
            steps=25, engine=engine, **settings,
        )  # fmt: skip
        norms = [step.total_gradient_norm for step in itertools.islice(steps, 25)]
        found.append((norms, [parameter.detach() for parameter in network.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-10)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert (one - other).abs().max() <= 1e-11 * other.abs().max()
