"""The norm of each sample's own gradient, compared with that gradient."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.losses import Loss
from nets.telemetry.tensorboard.board import Board
from nets.training.gradients.sample_norms import SAMPLED
from tests.cases import NETWORKS, Case
from tests.running import events

WITH_PARAMETERS = [case for case in NETWORKS if any(True for _ in case.network.parameters())]
LOSSES = {
    "mean squared error": nets.MeanSquaredError(),
    "sum of squares": nets.MeanSquaredError("sum"),
    "cross entropy": nets.CrossEntropy(),
    "sum of cross entropies": nets.CrossEntropy("sum"),
}


def targets(case: Case, loss: Loss) -> Tensor:
    y = case.network(case.x)
    generator = torch.Generator().manual_seed(0)
    if isinstance(loss, nets.CrossEntropy):
        return torch.randint(0, y.shape[1], (len(y),), generator=generator)
    return torch.rand(y.shape, generator=generator, dtype=y.dtype)


def one_by_one(case: Case, loss: Loss, target: Tensor) -> Tensor:
    """‖∂ℓ_n/∂θ_p‖, shape (P, N), from a backward pass for each sample."""
    columns = []
    for x, t in zip(case.x, target, strict=True):
        gradients = torch.autograd.grad(loss(case.network(x[None]), t[None]), list(case.network.parameters()))
        columns.append(torch.stack([gradient.norm() for gradient in gradients]))
    return torch.stack(columns, 1)


@pytest.mark.parametrize("engine", SAMPLED)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", WITH_PARAMETERS, ids=str)
def test_each_norm_equals_the_norm_of_the_gradient_of_one_sample(case: Case, loss: str, engine: str) -> None:
    """Two batches, since the second is replayed. The gradients of the batch are compared as well."""
    target, found = targets(case, LOSSES[loss]), SAMPLED[engine]()
    whole = torch.autograd.grad(LOSSES[loss](case.network(case.x), target), list(case.network.parameters()))
    for _ in range(2):
        _, gradients, norms = found(case.network, LOSSES[loss], nets.Batch(case.x.clone(), target.clone()))
        torch.testing.assert_close(norms, one_by_one(case, LOSSES[loss], target), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(list(gradients.values()), list(whole), rtol=1e-12, atol=1e-14)


def noisy(samples: int = 64) -> nets.Batch:
    """Y = w* · x + ε at w = 0: G_n = −2 (w* · x_n + ε_n) x_n."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    truth = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    return nets.Batch(x, x @ truth.mT + torch.randn(samples, 1, generator=generator, dtype=torch.float64))


def descent(data: nets.Batch, **settings: object) -> list[nets.Step]:
    network = nets.mlp([3, 1], output="identity").double()
    settings = {"loss": nets.MeanSquaredError(), "learning_rate": 1e-9, "steps": 4, "sample_norms": True} | settings
    return list(nets.descend(network, data, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", SAMPLED)
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_micro_batches_give_the_same_norms_and_noise(engine: str, loss: str) -> None:
    """The same samples in the same order, with the same norms and the same noise."""
    for whole, pieces in zip(
        descent(noisy(), engine=engine, loss=nets.MeanSquaredError(loss), batch_size=16),
        descent(noisy(), engine=engine, loss=nets.MeanSquaredError(loss), batch_size=16, micro_batch_size=5),
        strict=True,
    ):
        assert whole.sample_norms is not None and pieces.sample_norms is not None
        torch.testing.assert_close(whole.sample_norms.values, pieces.sample_norms.values, rtol=1e-12, atol=0)
        assert whole.noise is not None and pieces.noise is not None
        assert pieces.noise.scale == pytest.approx(whole.noise.scale, rel=1e-9)


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_the_noise_is_the_variance_of_the_sample_gradients(loss: str) -> None:
    """tr Σ = 1/(N − 1) Σ_n ‖G_n − Ḡ‖² and ‖G‖² = ‖Ḡ‖² − tr Σ / N, the unbiased estimates, from the gradients
    themselves."""
    data = noisy()
    (step,) = descent(data, steps=1, batch_size=None, loss=nets.MeanSquaredError(loss))
    weight, bias = (p.detach() for p in nets.mlp([3, 1], output="identity").double().parameters())
    slope = 2 * (data.inputs @ weight.mT + bias - data.targets)
    gradients = torch.cat([slope * data.inputs, slope], 1)
    variance = gradients.var(0).sum().item()
    assert step.noise is not None
    assert step.noise.noise == pytest.approx(variance, rel=1e-9)
    assert step.noise.signal == pytest.approx(gradients.mean(0).square().sum().item() - variance / len(data), rel=1e-9)


def test_a_single_sample_has_no_noise_scale() -> None:
    assert [step.noise for step in descent(noisy(4), batch_size=1)] == [None] * 4


def test_sample_norms_are_on_the_board(tmp_path: Path) -> None:
    steps = descent(noisy(), batch_size=16)
    with Board(tmp_path) as board:
        for step in steps:
            board.write(step)
    found = events(tmp_path)
    for name in ("0.weight", "0.bias"):
        for what, expected in (("mean", lambda norms: norms.mean()), ("largest", lambda norms: norms.max())):
            values = [event.value for event in found.Scalars(f"sample_norm/{name}/{what}")]
            assert values == pytest.approx(
                [float(expected(step.sample_norms.norms[name])) for step in steps if step.sample_norms], rel=1e-6
            )
    assert all(math.isfinite(event.value) for event in found.Scalars("noise_scale"))
    assert len(found.Scalars("noise_scale")) == len(steps)


def test_sample_norms_are_off_by_default() -> None:
    assert all(
        step.sample_norms is None and step.noise is None for step in descent(noisy(), batch_size=16, sample_norms=False)
    )
