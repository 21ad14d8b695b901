"""On a GPU, where there is one: the same descents, certificates and curves as on the CPU."""

import functools
from pathlib import Path

import pytest
import torch
from running import command_line, events
from torch import nn

import nets
from nets.calculus.losses import LOSSES
from nets.data.batch import Batch
from nets.training.gradients.engines import GRADIENT_ENGINES
from tests.loss_rows import ROWS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

SETTINGS = [
    {},
    {"momentum": 0.9},
    {"weight_decay": 0.01},
    {"momentum": 0.9, "weight_decay": 0.01},
    {"micro_batch_size": 16},
]


def descended(device: str, engine: str, loss: str, **settings: object) -> tuple[nets.Network, list[nets.Step]]:
    """Batches of 32, 32 and 16 samples, for 60 epochs."""
    generator = torch.Generator().manual_seed(0)
    network = nets.mlp([5, 6, 4], output="tanh", generator=generator).double().to(device)
    x = torch.randn(80, 5, generator=generator, dtype=torch.float64)
    target = ROWS[loss].targets(x[:, :4].sigmoid())
    data = Batch(x, target).to(torch.device(device))
    kind = LOSSES[loss]()
    return network, list(
        nets.descend(network, data, loss=kind, learning_rate=0.1, epochs=60, batch_size=32, engine=engine, **settings)
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_a_descent_equals_that_of_the_cpu(engine: str, loss: str, settings: dict[str, object]) -> None:
    (here, mine), (there, theirs) = (descended(device, engine, loss, **settings) for device in ("cpu", "cuda"))
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-9, atol=1e-12)
    for step, other in zip(mine, theirs, strict=True):
        assert other.loss == pytest.approx(step.loss, rel=1e-9)
        assert other.gradient_norm == pytest.approx(step.gradient_norm, rel=1e-8)
        assert other.update_ratio == pytest.approx(step.update_ratio, rel=1e-8)


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_sample_norms_equal_those_of_the_cpu(engine: str) -> None:
    mine, theirs = (descended(device, engine, "mean_squared_error", sample_norms=True)[1] for device in ("cpu", "cuda"))
    for step, other in zip(mine, theirs, strict=True):
        assert step.sample_norms is not None and other.sample_norms is not None
        torch.testing.assert_close(step.sample_norms.values, other.sample_norms.values.cpu(), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_divergence_is_raised_and_the_network_keeps_its_last_finite_parameters(engine: str) -> None:
    told = []
    for device in ("cpu", "cuda"):
        network = nets.mlp([3, 2], output="identity", generator=torch.Generator().manual_seed(1)).double().to(device)
        data = Batch(torch.ones(4, 3).double(), torch.zeros(4, 2).double()).to(torch.device(device))
        with pytest.raises(nets.DivergenceError) as end:
            list(
                nets.descend(network, data, loss=nets.MeanSquaredError(), learning_rate=1e30, steps=100, engine=engine)
            )
        assert all(parameter.isfinite().all() for parameter in network.parameters())
        told.append(str(end.value))
    assert told[0] == told[1]


def test_a_certificate_equals_that_of_the_cpu() -> None:
    module, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh()), torch.randn(2, 4)
    assert nets.verify(module, x) == nets.verify(module.cuda(), x.cuda())


def test_the_monitor_writes_the_norms_of_the_gradients(tmp_path: Path) -> None:
    module = nn.Linear(4, 3).cuda()
    with nets.GradientMonitor(module, tmp_path) as monitor:
        for _ in range(5):
            module.zero_grad()
            loss = module(torch.randn(8, 4, device="cuda")).square().mean()
            loss.backward()
            monitor.step(loss)
    assert module.weight.grad is not None
    last = events(tmp_path).Scalars("gradient_norm/weight")[-1]
    assert last.step == 5 and last.value == pytest.approx(float(module.weight.grad.norm()), rel=1e-6)


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_the_command_runs_on_a_gpu(engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    functools.partial(command_line, monkeypatch, tmp_path)(
        "device=cuda", f"descent.engine={engine}", "descent.epochs=2"
    )
    (log,) = tmp_path.rglob("events.out.tfevents.*")
    assert len(events(log.parent).Scalars("gradient_norm/total")) == 90
