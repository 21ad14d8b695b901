"""An update is that of `torch.optim.SGD`, however tensors are laid out, and the same where it is queued on a GPU."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.training.update import LOOKED, Queued, Update

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


class Again:
    """A function that is called where a GPU would launch its graph."""

    made = 0

    def __init__(self, function: Callable[[], None]) -> None:
        Again.made += 1
        self.replay = function


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
def test_an_update_is_that_of_torch_whatever_the_layout(settings: dict[str, float], given: str, kept: str) -> None:
    ours, theirs = parameters(kept), parameters()
    update, optimizer = Update(ours, 0.1, **settings), torch.optim.SGD(theirs.values(), lr=0.1, foreach=False, **settings)
    for number in range(1, 6):
        loss, found = gradients(number, given)
        assert update(loss, found) is None
        for name, parameter in theirs.items():
            parameter.grad = found[name].clone()
        before = {name: parameter.detach().clone() for name, parameter in theirs.items()}
        optimizer.step()
        table = update.block.table([update.row])[0]
        for place, (name, parameter) in enumerate(theirs.items()):
            torch.testing.assert_close(ours[name].detach(), parameter.detach(), rtol=1e-14, atol=1e-15)
            ratio = float((parameter.detach() - before[name]).norm() / before[name].norm())
            assert table[4 + place] == pytest.approx(ratio, rel=1e-9)


@pytest.mark.parametrize("given", list(LAYOUTS))
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_queued_update_is_the_same(settings: dict[str, float], given: str) -> None:
    """Gradients that come again in their memory, from batches of two sizes, and some that come but once."""
    ours, theirs = parameters(), parameters()
    queued, update = Queued(ours, 0.1, **settings, capture=Again), Update(theirs, 0.1, **settings)
    places = [gradients(1, given), gradients(1, given)]
    Again.made = 0
    for number in range(1, 40):
        fresh = gradients(number, given)
        loss, found = places[number % 2] if number % 5 else fresh
        loss.copy_(fresh[0])
        for name, gradient in found.items():
            gradient.copy_(fresh[1][name])
        assert queued(loss, found) is None
        update(*fresh)
        assert queued.block.table([queued.row]) == pytest.approx(update.block.table([update.row]), rel=1e-12)
    assert Again.made == 2 and queued.stopped() is None
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("bad", ["loss", "gradient"])
@pytest.mark.parametrize("after", [3, LOOKED, LOOKED + 1])
def test_a_queued_update_stops_where_numbers_are_not_finite(settings: dict[str, float], bad: str, after: int) -> None:
    """It is seen at the next look, that no update has been made since, and how many there would have been."""
    ours, theirs = parameters(), parameters()
    queued, update = Queued(ours, 0.1, **settings, capture=Again), Update(theirs, 0.1, **settings)
    for number in range(1, 3 * LOOKED):
        loss, found = gradients(number)
        if number < after:
            update(loss, found)
        elif number == after:
            (loss if bad == "loss" else found["weight"][2]).fill_(math.nan)
        since = queued(loss, found)
        if since is not None:
            assert number == math.ceil(after / LOOKED) * LOOKED and number - since == after
            break
    assert queued.stopped() == since
    for name in ours:
        assert torch.equal(ours[name], theirs[name])


def test_a_queued_update_refuses_parameters_that_its_kernel_cannot_go_through() -> None:
    with pytest.raises(nets.InputError, match="not laid out row by row in one precision"):
        Queued(parameters("column by column"), 0.1, 0.0, 0.0)
