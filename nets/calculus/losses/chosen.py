"""The loss that the settings `loss` of a run describe."""

from collections.abc import Mapping
from typing import Any

from nets.calculus.losses.loss import LOSSES, Loss
from nets.settings import call
from nets.validation import one_of


def loss_of(settings: Mapping[str, Any]) -> Loss:
    """The loss called `name`, with the other settings as its arguments.

    Raises:
        InputError: for an unknown name, or a setting that is unknown, of another type or out of range.
    """
    kind = LOSSES[one_of("loss.name", settings.get("name"), tuple(LOSSES))]
    made: Loss = call(kind, {key: value for key, value in settings.items() if key != "name"}, "loss")
    return made
