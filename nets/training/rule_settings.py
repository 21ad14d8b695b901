"""The update rule and the learning rate that the settings `optimizer`, `schedule` and `descent` of a run describe."""

import re
from collections.abc import Sequence
from typing import Any

from nets.errors import InputError
from nets.settings import call
from nets.training.descend import count_steps
from nets.training.optimizers import OPTIMIZERS
from nets.training.schedules import SCHEDULES
from nets.validation import one_of

OF_SGD = ("learning_rate", "momentum", "weight_decay")
"""Settings of `descent` that describe SGD, the rule of a run without `optimizer`."""


def descent_of(descent: dict[str, Any], optimizer: dict[str, Any] | None, overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of the descent; without those of SGD if an optimizer was chosen, which has its own.

    Args:
        descent: the settings.
        optimizer: the settings of the optimizer.
        overrides: the settings on the command line, as KEY=VALUE.

    Raises:
        InputError: for an optimizer and a setting of SGD on the command line.
    """
    if optimizer is None:
        return descent
    for name in OF_SGD:
        if any(re.match(rf"\+*descent\.{name}=", text) for text in overrides):
            raise InputError(
                f"descent.{name} is a setting of SGD, and optimizer={optimizer.get('name')} was chosen; expected one "
                f"of the two: leave it out, or write optimizer.{name} where the optimizer has it."
            )
    return {name: value for name, value in descent.items() if name not in OF_SGD}


def rule_of(
    optimizer: dict[str, Any] | None, schedule: dict[str, Any] | None, descent: dict[str, Any], samples: int
) -> dict[str, Any]:
    """The rule, or the learning rate, that `descend` is given besides its settings: {} without optimizer and schedule.

    A schedule whose `steps` are null goes over all steps of the run.
    """
    owner = descent if optimizer is None else optimizer
    given = {}
    if schedule is not None:
        kind = SCHEDULES[one_of("schedule.name", schedule.get("name"), tuple(SCHEDULES))]
        limits = [descent.get(key) for key in ("epochs", "steps", "batch_size")]
        own = {key: value for key, value in schedule.items() if key != "name" and (key, value) != ("steps", None)}
        known = any(limits[:2]) and all(value is None or (type(value) is int and value > 0) for value in limits)
        if known and "steps" in schedule:
            own = {"steps": count_steps(samples, *limits), **own}
        given["learning_rate"] = call(kind, {"learning_rate": owner.get("learning_rate"), **own}, "schedule")
    if optimizer is None:
        return given
    rule = OPTIMIZERS[one_of("optimizer.name", optimizer.get("name"), tuple(OPTIMIZERS))]
    own = {key: value for key, value in optimizer.items() if key != "name" and key not in given}
    return {"rule": call(rule, own, "optimizer", **given)}
