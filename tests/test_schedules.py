"""Learning rates that change: their values, what is on record, and what is refused."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import nets
from nets.training.async_update import AsyncUpdate
from nets.training.optimizers import SGD, Adam, AdamW
from nets.training.parameters import TrainedParameters
from nets.training.schedules import SCHEDULES, Constant, OneCycle, Schedule, StepDecay, WarmupCosine

GENERATOR = torch.Generator().manual_seed(0)
DATA = nets.Batch(*(torch.randn(20, width, generator=GENERATOR, dtype=torch.float64) for width in (3, 2)))
STEPS = 40


def linear_then_cosine(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    of = torch.optim.lr_scheduler
    rise = of.LambdaLR(optimizer, lambda t: (t + 1) / 10)
    return of.SequentialLR(optimizer, [rise, of.CosineAnnealingLR(optimizer, STEPS - 10, 0.02)], [10])


# schedule, the scheduler of PyTorch that it equals
PEERS: dict[str, tuple[Schedule, Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]]] = {
    "constant": (Constant(0.1), lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)),
    "warmup_cosine": (WarmupCosine(0.1, STEPS, 10, 0.02), linear_then_cosine),
    "step": (StepDecay(0.1, 7, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5)),
    "one_cycle": (
        OneCycle(0.1, STEPS, 0.25, 20, 100),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 0.1, STEPS, pct_start=0.25, div_factor=20, final_div_factor=100, cycle_momentum=False
        ),
    ),
}


def network() -> nets.Network:
    return nets.mlp([3, 4, 2], output="identity", generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_descent_along_a_schedule_equals_that_of_torch(name: str) -> None:
    schedule, made = PEERS[name]
    ours, theirs, loss = network(), network(), nets.MeanSquaredError()
    peer = torch.optim.SGD(theirs.parameters(), 0.1, 0.9)
    scheduler = made(peer)
    steps = nets.descend(ours, DATA, loss=loss, learning_rate=schedule, momentum=0.9, steps=STEPS)
    for number, step in enumerate(steps):
        assert step.learning_rate == schedule(number) == pytest.approx(peer.param_groups[0]["lr"], rel=1e-12)
        peer.zero_grad()
        loss(theirs(DATA.inputs), DATA.targets).backward()
        peer.step()
        scheduler.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [SGD, Adam, AdamW])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_resumed_descent_continues_the_schedule(rule: Any, clip: float | None) -> None:
    given = {"loss": nets.MeanSquaredError(), "clip_norm": clip, "batch_size": 6, "micro_batch_size": 4}
    schedule = WarmupCosine(0.1, 12, 3)
    whole, other = network(), network()
    expected = list(nets.descend(whole, DATA, steps=12, rule=rule(schedule), **given))
    first = nets.descend(network(), DATA, steps=7, rule=rule(schedule), **given)
    list(first)
    found = list(nets.descend(other, DATA, steps=12, rule=rule(schedule), state=first.state, **given))
    assert found == expected[7:] and all(map(torch.equal, whole.parameters(), other.parameters()))
    assert [step.learning_rate for step in found] == [schedule(number) for number in range(7, 12)]


class OnGPU(SGD):
    """SGD whose rate is a tensor, as on a GPU, where a graph that has been captured reads it."""

    def begin(self, step: int, device: torch.device) -> float:
        rate = self.rate_at(step)
        if isinstance(self.rate, torch.Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = torch.full((), rate, dtype=torch.float64)
        return rate


class GraphStandIn:
    """A function that is called where a GPU would launch its graph."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.replay = function


def test_a_queued_update_has_the_rate_of_its_step() -> None:
    ours, theirs = network(), network()
    of = [TrainedParameters(dict(each.named_parameters())) for each in (ours, theirs)]
    schedule = StepDecay(0.1, 2, 0.5)
    rules = OnGPU(schedule, 0.9), SGD(schedule, 0.9)
    updates = [
        AsyncUpdate(own, rule, rule.init(own.tensors), made=1, capture=GraphStandIn)  # type: ignore[arg-type]
        for own, rule in zip(of, rules, strict=True)
    ]
    loss, found = torch.tensor(1.0).double(), {name: torch.ones_like(p) for name, p in ours.named_parameters()}
    for number in range(1, 9):
        for update in updates:
            update(loss, found)
        assert updates[0].block.rates[number - 1] == schedule(number)
        mine, other = (update.block.numbers([update.row]).update_ratio for update in updates)
        assert mine == pytest.approx(other, rel=1e-12)
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: WarmupCosine(0.1, 10, 10), "warmup is 10 and steps is 10"),
        (lambda: WarmupCosine(0.1, 10, 300), "warmup is 300 and steps is 10; expected a warm-up of fewer updates"),
        (lambda: WarmupCosine(0.1, 0), "steps is 0"),
        (lambda: WarmupCosine(0.1, 10, -1), "warmup is -1"),
        (lambda: WarmupCosine(0.1, 10, 1, 0.2), "least is 0.2"),
        (lambda: Constant(0), "learning_rate is 0"),
        (lambda: StepDecay(0.1, 0), "every is 0"),
        (lambda: StepDecay(0.1, 2, 1.5), "factor is 1.5"),
        (lambda: OneCycle(0.1, 3), "rise is 0.3 and steps is 3"),
        (lambda: OneCycle(0.1, 1), "steps is 1"),
        (lambda: OneCycle(-0.1, 10), "learning_rate is -0.1"),
        (lambda: SGD(lambda step: math.nan), "the learning rate after 0 updates is nan"),
        (lambda: SGD(lambda step: "fast"), "the learning rate after 0 updates is 'fast'"),
    ],
)
def test_a_schedule_with_wrong_arguments_is_refused(made: Callable[[], object], message: str) -> None:
    with pytest.raises(nets.InputError, match=message):
        made()


def test_a_negative_rate_ends_the_descent_with_an_error_that_names_the_step() -> None:
    steps = nets.descend(network(), DATA, loss=nets.MeanSquaredError(), learning_rate=lambda t: 0.1 - 0.05 * t, steps=9)
    with pytest.raises(nets.InputError, match=r"the learning rate after 3 updates is -0\.05"):
        list(steps)
