"""An update equals that of `torch.optim.SGD` for every memory layout, on the CPU and queued as on a GPU."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nets.training.async_update import SYNC_EVERY, AsyncUpdate
from nets.training.optimizers import SGD, UpdateRule
from nets.training.parameters import TrainedParameters
from nets.training.update import Update

SETTINGS = [
    {"momentum": 0.0, "weight_decay": 0.0},
    {"momentum": 0.9, "weight_decay": 0.0},
    {"momentum": 0.0, "weight_decay": 0.01},
    {"momentum": 0.5, "weight_decay": 0.1},
]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "row by row": lambda t: t,
    "column by column": lambda t: t.mT.contiguous().mT,
    "with gaps": lambda t: torch.cat([t, t], 1)[:, : t.shape[1]],
}


class GraphStandIn:
    """A function that is called where a GPU would launch its graph."""

    made = 0

    def __init__(self, function: Callable[[], None]) -> None:
        GraphStandIn.made += 1
        self.replay = function


def updating(named: dict[str, nn.Parameter], settings: dict[str, float], rule: type[UpdateRule] = SGD) -> Update:
    parameters, made = TrainedParameters(named), rule(0.1, **settings)
    return Update(parameters, made, made.init(parameters.tensors))


def queueing(named: dict[str, nn.Parameter], settings: dict[str, float], rule: type[UpdateRule] = SGD) -> AsyncUpdate:
    parameters, made = TrainedParameters(named), rule(0.1, **settings)
    return AsyncUpdate(parameters, made, made.init(parameters.tensors), capture=GraphStandIn)


class SlowSGD(SGD):
    """SGD by `step` alone, as a rule without a fused kernel."""

    apply_fused = UpdateRule.apply_fused


RULES = pytest.mark.parametrize("rule", [SGD, SlowSGD])


def parameters(layout: str = "row by row") -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(5, 3, generator=generator), torch.randn(1, 4, generator=generator)
    return {"weight": nn.Parameter(LAYOUTS[layout](weight.double())), "bias": nn.Parameter(bias.double())}


def gradients(number: int, layout: str = "row by row") -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(number)
    weight, bias = torch.randn(5, 3, generator=generator), torch.randn(1, 4, generator=generator)
    return torch.tensor(1.0 / number).double(), {"weight": LAYOUTS[layout](weight.double()), "bias": bias.double()}


@pytest.mark.parametrize("kept", list(LAYOUTS))
@pytest.mark.parametrize("given", list(LAYOUTS))
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@RULES
def test_an_update_equals_that_of_torch_for_every_layout(
    settings: dict[str, float], given: str, kept: str, rule: type[UpdateRule]
) -> None:
    ours, theirs = parameters(kept), parameters()
    update, optimizer = (
        updating(ours, settings, rule),
        torch.optim.SGD(theirs.values(), lr=0.1, foreach=False, **settings),
    )
    for number in range(1, 6):
        loss, found = gradients(number, given)
        assert update(loss, found) is None
        for name, parameter in theirs.items():
            parameter.grad = found[name].clone()
        before = {name: parameter.detach().clone() for name, parameter in theirs.items()}
        optimizer.step()
        ratios = update.block.numbers([update.row]).update_ratio[0]
        for place, (name, parameter) in enumerate(theirs.items()):
            torch.testing.assert_close(ours[name].detach(), parameter.detach(), rtol=1e-14, atol=1e-15)
            ratio = float((parameter.detach() - before[name]).norm() / before[name].norm())
            assert ratios[place] == pytest.approx(ratio, rel=1e-9)


@pytest.mark.parametrize("given", list(LAYOUTS))
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@RULES
def test_a_queued_update_equals_an_update_on_the_cpu(
    settings: dict[str, float], given: str, rule: type[UpdateRule]
) -> None:
    """Gradients alternate between two places in memory; every fifth has new memory."""
    ours, theirs = parameters(), parameters()
    queued, update = queueing(ours, settings, rule), updating(theirs, settings)
    places = [gradients(1, given), gradients(1, given)]
    GraphStandIn.made = 0
    for number in range(1, 40):
        fresh = gradients(number, given)
        loss, found = places[number % 2] if number % 5 else fresh
        loss.copy_(fresh[0])
        for name, gradient in found.items():
            gradient.copy_(fresh[1][name])
        assert queued(loss, found) is None
        update(*fresh)
        found, expected = queued.block.numbers([queued.row]), update.block.numbers([update.row])
        for name in ("loss", "gradient_norm", "total_gradient_norm", "update_ratio"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-12)
    assert GraphStandIn.made == 2 and queued.last_check() is None
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("bad", ["loss", "gradient"])
@pytest.mark.parametrize("after", [3, SYNC_EVERY, SYNC_EVERY + 1])
@RULES
def test_a_queued_update_stops_where_numbers_are_not_finite(
    settings: dict[str, float], bad: str, after: int, rule: type[UpdateRule]
) -> None:
    """The next check returns the number of updates since then.

    No update was made in between, and the state of the rule has not changed.
    """
    ours, theirs = parameters(), parameters()
    queued, update = queueing(ours, settings, rule), updating(theirs, settings, rule)
    for number in range(1, 3 * SYNC_EVERY):
        loss, found = gradients(number)
        if number < after:
            update(loss, found)
        elif number == after:
            (loss if bad == "loss" else found["weight"][2]).fill_(math.nan)
        since = queued(loss, found)
        if since is not None:
            assert number == math.ceil(after / SYNC_EVERY) * SYNC_EVERY and number - since == after
            break
    assert queued.last_check() == since
    for name in ours:
        assert torch.equal(ours[name], theirs[name])
    if settings["momentum"]:
        assert all(map(torch.equal, queued.state["velocity"], update.state["velocity"]))
