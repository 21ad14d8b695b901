"""The record of a sum of gradients, compared with the same gradients summed by hand in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.losses import Loss
from nets.data.batch import Batch
from nets.training.gradients.accumulation import accumulate
from nets.training.gradients.accumulator import Accumulator
from nets.training.gradients.engines import GRADIENT_ENGINES

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(10, 3, generator=GENERATOR, dtype=torch.float64)
NUMBERS = Batch(X, torch.rand(10, 2, generator=GENERATOR, dtype=torch.float64))
CLASSES = Batch(X, torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1, 0]))
# −100 masks a target. Of micro-batches of 4, 4 and 2 samples, 1, 0 and 2 targets count.
MASKED = Batch(X, torch.tensor([-100, 1, -100, -100, -100, -100, -100, -100, 1, 0]))
LOSSES: dict[str, tuple[Loss, Batch]] = {
    "mean": (nets.MeanSquaredError(), NUMBERS),
    "sum": (nets.MeanSquaredError("sum"), NUMBERS),
    "sum of cross entropies": (nets.CrossEntropy("sum"), CLASSES),
    "masked": (nets.MaskedCrossEntropy(), MASKED),
    "sum of masked": (nets.MaskedCrossEntropy("sum"), MASKED),
}


def network(dtype: torch.dtype = torch.float64) -> nets.Network:
    return nets.mlp([3, 4, 2], output="identity", generator=torch.Generator().manual_seed(1)).to(dtype)


def pieces(batch: Batch, size: int) -> list[Batch]:
    return [batch.take(slice(start, start + size)) for start in range(0, len(batch), size)]


def flat(gradients: dict[str, Tensor], name: str) -> "np.ndarray":
    return gradients[name].double().flatten().numpy()


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
@pytest.mark.parametrize("size", [1, 3, 4, 9])
@pytest.mark.parametrize("loss_name", list(LOSSES))
def test_the_weighted_sum_is_the_gradient_of_the_whole(loss_name: str, size: int, engine: str) -> None:
    loss, batch = LOSSES[loss_name]
    whole = GRADIENT_ENGINES[engine]()(network(), loss, batch)
    value, gradients, accumulation = accumulate(GRADIENT_ENGINES[engine](), network(), loss, batch, size)
    torch.testing.assert_close(value, whole[0], rtol=1e-13, atol=0)
    torch.testing.assert_close(gradients, whole[1], rtol=1e-12, atol=1e-15)
    counts = [loss.counted(piece.targets) for piece in pieces(batch, size)]
    expected = [1.0] * len(counts) if loss.reduction == "sum" else [count / sum(counts) for count in counts]
    assert accumulation.sizes == tuple(counts) and accumulation.weights == tuple(expected)


def test_a_fully_masked_window_changes_no_parameter() -> None:
    batch = Batch(X, torch.full((10,), -100))
    value, gradients, accumulation = accumulate(
        GRADIENT_ENGINES["closed_form"](), network(), nets.MaskedCrossEntropy(), batch, 4
    )
    assert value == 0 and not any(g.any() for g in gradients.values()) and accumulation.weights == (0, 0, 0)
    assert accumulation.is_the_sum and set(accumulation.agreement.values()) == {1.0}
    (step, *_) = nets.descend(
        network(), batch, loss=nets.MaskedCrossEntropy(), learning_rate=0.1, steps=1, micro_batch_size=4
    )
    assert step.loss == 0 and step.accumulation.noise is None


@pytest.mark.parametrize("loss_name", list(LOSSES))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_record_has_every_number_of_a_window(loss_name: str, dtype: torch.dtype) -> None:
    loss, batch = LOSSES[loss_name]
    batch = batch.to(dtype)
    accumulation = accumulate(GRADIENT_ENGINES["closed_form"](), network(dtype), loss, batch, 4)[2]
    unit = 2.0**-53 if dtype == torch.float64 else 2.0**-24
    assert accumulation.names == ("micro-batch 1", "micro-batch 2", "micro-batch 3")
    found = [GRADIENT_ENGINES["closed_form"]()(network(dtype), loss, piece) for piece in pieces(batch, 4)]
    assert accumulation.losses == pytest.approx([float(value) for value, _ in found], rel=1e-6)
    for name in found[0][1]:
        vectors = [flat(gradients, name) for _, gradients in found]
        added = [w * v for w, v in zip(accumulation.weights, vectors, strict=True)]
        norms = [np.linalg.norm(v) for v in vectors]
        assert accumulation.norms[name] == pytest.approx(norms, rel=4 * unit)
        sums = list(itertools.accumulate(added))
        with np.errstate(invalid="ignore"):
            cosines = [
                math.nan,
                *(s @ a / np.linalg.norm(s) / np.linalg.norm(a) for s, a in zip(sums, added[1:], strict=False)),
            ]
        assert accumulation.cosines[name] == pytest.approx(cosines, abs=200 * unit, nan_ok=True)
        whole = sum(np.linalg.norm(a) for a in added)
        assert accumulation.agreement[name] == pytest.approx(np.linalg.norm(sums[-1]) / whole, rel=8 * unit)
        largest, share = accumulation.largest[name]
        assert largest == f"micro-batch {1 + int(np.argmax([np.linalg.norm(a) for a in added]))}"
        assert share == pytest.approx(max(np.linalg.norm(a) for a in added) / whole, rel=8 * unit)
        assert accumulation.residual[name] <= 4 * unit
    assert accumulation.is_the_sum
    if dtype == torch.float32:
        assert max(accumulation.residual.values()) > 0  # the second sum is rounded differently


def test_a_single_contribution_has_no_agreement_and_no_noise() -> None:
    (step,) = nets.descend(network(), NUMBERS, loss=nets.MeanSquaredError(), learning_rate=0.1, steps=1)
    assert step.accumulation.sizes == (10,) and step.accumulation.block is None and step.accumulation.norms == {}
    assert step.accumulation.noise is None and step.accumulation.is_the_sum


def test_the_records_of_a_descent_keep_their_numbers() -> None:
    """All windows share the memory of the sums, and each micro-batch overwrites the last."""
    windows = []
    settings = {"loss": nets.MeanSquaredError(), "learning_rate": 0.1, "batch_size": 5, "micro_batch_size": 2}
    steps = nets.descend(network(), NUMBERS, epochs=200, **settings)
    for step in steps:
        windows.append(
            (step.accumulation, step.accumulation.norms, step.accumulation.residual, step.accumulation.losses)
        )
    assert len(windows) == 400  # more than a block
    for accumulation, norms, residual, losses in windows:
        assert (accumulation.norms, accumulation.residual, accumulation.losses) == (norms, residual, losses)
        assert accumulation.is_the_sum
    again = list(nets.descend(network(), NUMBERS, epochs=200, **settings))
    assert [step.accumulation for step in again] == [accumulation for accumulation, *_ in windows]
    assert windows[0][0] != windows[1][0]


@pytest.mark.parametrize("fault", [1.001, 0.0, -1.0])
def test_a_wrong_sum_has_a_residual(fault: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is changed in the middle of a window."""
    add, calls = Accumulator.add, []

    def changed(self: Accumulator, *given: object) -> None:
        add(self, *given)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 2:
            self.total["0.weight"].mul_(fault)

    monkeypatch.setattr(Accumulator, "add", changed)
    accumulation = accumulate(GRADIENT_ENGINES["closed_form"](), network(), nets.MeanSquaredError(), NUMBERS, 4)[2]
    assert (
        not accumulation.is_the_sum
        and accumulation.residual["0.weight"] > 1e-4
        and accumulation.residual["0.bias"] < 1e-15
    )
