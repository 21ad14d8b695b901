"""The optimizers and schedules of a run: each option makes what its file says, and the settings of both fit."""

import itertools

import pytest

from nets.training.optimizers import OPTIMIZERS
from nets.training.schedules import SCHEDULES
from tests.running import Descent
from train import CONFIGS


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def test_every_optimizer_and_every_schedule_is_an_option() -> None:
    assert options("optimizer") == sorted(OPTIMIZERS) and options("schedule") == sorted(SCHEDULES)


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_an_optimizer_trains_with_the_learning_rate_that_is_set(optimizer: str, engine: str) -> None:
    run = Descent(
        "experiment=tanh_mlp", f"optimizer={optimizer}", "optimizer.learning_rate=2e-3", f"descent.engine={engine}",
        "descent.learning_rate=null", "descent.momentum=0.0", "descent.steps=40",
    )  # fmt: skip
    steps = run.end()
    assert {step.learning_rate for step in steps} == {2e-3}
    assert sum(step.loss for step in steps[-5:]) < sum(step.loss for step in steps[:5])


@pytest.mark.parametrize(("optimizer", "schedule"), [*itertools.product([None, "adam"], options("schedule"))])
def test_a_schedule_goes_over_all_steps_of_the_run(optimizer: str | None, schedule: str) -> None:
    chosen = [] if optimizer is None else ["optimizer=adam", "descent.learning_rate=null", "descent.momentum=0.0"]
    run = Descent("experiment=tanh_mlp", *chosen, f"schedule={schedule}", "descent.epochs=null", "descent.steps=20")
    rates = [step.learning_rate for step in run.end()]
    assert max(rates) <= (0.05 if optimizer is None else 0.001) * (1 + 1e-12)
    fallen = {"constant": 1, "step": 1, "warmup_cosine": 0.1, "one_cycle": 0.01}[schedule]
    assert rates[-1] <= fallen * max(rates) and len(rates) == 20
