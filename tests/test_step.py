"""The record of a step: named numbers, read without building anything."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch

import nets
from nets.records.contributions import Accumulation
from nets.records.step import Block, Step, numbers_of


def steps(count: int = 5) -> list[Step]:
    generator = torch.Generator().manual_seed(0)
    data = nets.Batch(torch.randn(8, 3, generator=generator), torch.rand(8, 2, generator=generator))
    network = nets.mlp([3, 4, 2], generator=generator)
    return list(nets.descend(network, data, loss=nets.MeanSquaredError(), learning_rate=0.1, momentum=0.5, steps=count))


def test_reading_one_number_builds_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the row of a step nor a dictionary is made: a view has no numbers of its own."""
    (step,) = steps(1)
    expected = dict(step.gradient_norm), dict(step.update_ratio), step.loss
    built = []
    monkeypatch.setattr(Block, "numbers", lambda *given: built.append(given))
    for norms, ratios in ((step.gradient_norm, step.update_ratio), (step.gradient_norm, step.update_ratio)):
        assert isinstance(norms, Mapping) and not isinstance(norms, dict) and not hasattr(norms, "__dict__")
        assert {name: norms[name] for name in norms} == expected[0] and {
            name: ratios[name] for name in ratios
        } == expected[1]
    assert step.loss == expected[2] and not built
    for missing in (step.gradient_norm, step.update_ratio):
        with pytest.raises(KeyError):
            missing["3.weight"]


def test_a_number_read_alone_equals_that_of_the_table() -> None:
    """To the last bit, over more than a block of steps."""
    records = steps(300)
    runs = numbers_of(records)
    assert [len(run.loss) for run in runs] == [256, 44]
    assert [step.loss for step in records] == [x for run in runs for x in run.loss.tolist()]
    assert [step.total_gradient_norm for step in records] == [
        x for run in runs for x in run.total_gradient_norm.tolist()
    ]
    for what in ("gradient_norm", "update_ratio"):
        rows = [row for run in runs for row in getattr(run, what).tolist()]
        assert [list(getattr(step, what).values()) for step in records] == rows


@pytest.mark.parametrize("count", [1, 7, 8, 9, 130, 300])
def test_both_computations_of_the_total_norm_agree(count: int) -> None:
    norms = {f"{n}": float(x) for n, x in enumerate(np.random.default_rng(0).lognormal(0, 3, count))}
    step = Step.of(1, 1, 0.5, norms, dict.fromkeys(norms, 0.1), Accumulation((1,), (1.0,)))
    assert step.total_gradient_norm == numbers_of([step])[0].total_gradient_norm[0]
    assert step.total_gradient_norm == pytest.approx(math.hypot(*norms.values()), rel=1e-14)


@pytest.mark.parametrize(
    ("moved", "size", "ratio"), [(0, 0, 0), (1, 0, math.inf), (3, 2, 1.5), (math.nan, 0, math.nan)]
)
def test_the_update_ratio_of_a_zero_parameter_is_infinite_or_nan(moved: float, size: float, ratio: float) -> None:
    block = Block(("w",), torch.empty(0, dtype=torch.float64))
    block.write(0, [0.5, 1.0, size, moved], -1.0)
    step = Step(1, 1, Accumulation((1,), (1.0,)), block, 0)
    for found in (step.update_ratio["w"], block.numbers([0]).update_ratio[0, 0]):
        assert found == pytest.approx(ratio, nan_ok=True)
