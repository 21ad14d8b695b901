"""Clipped gradients: a descent equals PyTorch's, and both norms are on record."""

import math
from typing import Any

import pytest
import torch

import nets
from nets.telemetry.tensorboard.columns import step_columns
from nets.training.async_update import AsyncUpdate
from nets.training.optimizers import SGD, Adam, Clipped, UpdateRule
from nets.training.parameters import TrainedParameters

GENERATOR = torch.Generator().manual_seed(0)
DATA = nets.Batch(*(torch.randn(20, width, generator=GENERATOR, dtype=torch.float64) for width in (3, 2)))
LIMITS: list[dict[str, Any]] = [
    {"clip_norm": 0.1},
    {"clip_value": 0.02},
    {"clip_norm": 0.05, "clip_value": 0.03},
    {"clip_norm": 1e9},
]


def network() -> nets.Network:
    return nets.mlp([3, 4, 2], output="identity", generator=torch.Generator().manual_seed(1)).double()


def clip(
    parameters: list[torch.nn.Parameter], clip_norm: float | None = None, clip_value: float | None = None
) -> float:
    """Clip by PyTorch, and return the norm afterwards."""
    if clip_value is not None:
        torch.nn.utils.clip_grad_value_(parameters, clip_value)
    if clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
    return math.hypot(*(float(p.grad.norm()) for p in parameters if p.grad is not None))


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("rule", [SGD(0.2), SGD(0.1, 0.9), Adam(0.01)], ids=["SGD", "momentum", "Adam"])
def test_a_clipped_descent_equals_that_of_torch(rule: UpdateRule, limits: dict[str, float]) -> None:
    ours, theirs, loss = network(), network(), nets.MeanSquaredError()
    kept = list(theirs.parameters())
    peer = torch.optim.Adam(kept, 0.01) if isinstance(rule, Adam) else torch.optim.SGD(kept, rule.rate, rule.momentum)  # type: ignore[attr-defined, arg-type]
    for step in nets.descend(ours, DATA, loss=loss, rule=rule, steps=200, **limits):
        peer.zero_grad()
        loss(theirs(DATA.inputs), DATA.targets).backward()
        before = math.hypot(*(float(p.grad.norm()) for p in kept if p.grad is not None))
        assert step.total_gradient_norm == pytest.approx(before, rel=1e-9)
        assert step.clipped_gradient_norm == pytest.approx(clip(kept, **limits), rel=1e-9)
        peer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_both_norms_are_recorded_and_the_gradient_stays_unclipped() -> None:
    of = network()
    steps = nets.descend(of, DATA, loss=nets.MeanSquaredError(), learning_rate=0.1, steps=3, clip_norm=0.1)
    records = list(steps)
    columns = step_columns(records[0].block.numbers([0, 1, 2]))
    assert (columns["gradient_norm/total"] > 0.2).all()
    assert columns["gradient_norm/clipped"] == pytest.approx([0.1] * 3, rel=1e-5)
    assert columns["learning_rate"].tolist() == [0.1] * 3
    left = math.hypot(*(float(p.grad.norm()) for p in of.parameters() if p.grad is not None))
    assert left == pytest.approx(records[-1].total_gradient_norm)


def test_a_rule_without_a_limit_records_no_clipped_norm() -> None:
    (step,) = nets.descend(network(), DATA, loss=nets.MeanSquaredError(), learning_rate=0.1, steps=1)
    assert step.clipped_gradient_norm is None and "gradient_norm/clipped" not in step_columns(step.block.numbers([0]))


@pytest.mark.parametrize("rule", [SGD(0.1, 0.9), Adam(0.01)], ids=["momentum", "Adam"])
def test_a_queued_update_is_clipped_and_recorded(rule: UpdateRule) -> None:
    of = network()
    parameters, clipped = TrainedParameters(dict(of.named_parameters())), Clipped(rule, norm=0.1, value=0.5)
    update = AsyncUpdate(parameters, clipped, clipped.init(parameters.tensors))
    update(torch.tensor(1.0).double(), {name: torch.ones_like(p) for name, p in of.named_parameters()})
    assert update.block.numbers([0]).recorded["clipped_gradient_norm"] == pytest.approx([0.1], rel=1e-5)


def test_a_resumed_descent_equals_an_uninterrupted_one_bit_for_bit() -> None:
    given: dict[str, Any] = {"loss": nets.MeanSquaredError(), "rule": Adam(0.01), "clip_norm": 0.1, "batch_size": 6}
    whole, other = network(), network()
    expected = list(nets.descend(whole, DATA, steps=9, **given))
    first = nets.descend(network(), DATA, steps=5, **given)
    list(first)
    assert {"mean", "square", "updates"} == {*first.state.rule}
    found = list(nets.descend(other, DATA, steps=9, state=first.state, **given))
    assert found == expected[5:] and all(map(torch.equal, whole.parameters(), other.parameters()))


@pytest.mark.parametrize(
    "limits", [{"clip_norm": 0}, {"clip_value": -1}, {"clip_norm": math.nan}, {"clip_value": "1"}], ids=str
)
def test_a_limit_out_of_range_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(nets.InputError, match=f"{next(iter(limits))} is"):
        nets.descend(network(), DATA, loss=nets.MeanSquaredError(), learning_rate=0.1, steps=1, **limits)
