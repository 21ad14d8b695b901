"""One wrong backward pass, and where it is tried."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from nets.records.reason import Reason
from tests.building import Draw, Make, shaped
from tests.wrong.modules import ByHand, Rule

Shows = Literal["backward", "later call", "parameters only", "accumulation", "forward mode", "second order"]


@dataclass(frozen=True)
class WrongBackward:
    """A module with the right values and a wrong gradient, and where that gradient can be seen to be wrong.

    Attributes:
        name: what is wrong, in words.
        make: the module and its inputs, in float64, drawn from a generator.
        cause: the mistake, if it is one that a certificate can name.
        parameter: whose gradient is wrong, as in `named_parameters()`, or 'input' ('input[0]' of several), or 'v', by
            which a gradient of second order is differentiated wrongly, though rightly by every other point; None where
            the fault spoils more than one.
        shows: 'backward' in any backward pass; 'later call' in that of a later call, after one at another point;
            'parameters only' where the inputs need no gradient; 'accumulation' in .grad after two backward passes;
            'forward mode' in the product of the Jacobian with a direction of the input, while the backward pass is
            right: it passes with a note, and fails with forward="required"; 'second order' in the gradient of the
            gradient alone, which `verify` checks with order=2.
        step: how far the table's own proof moves a point: less than it is from a kink.
        fact: what the certificate must say besides the cause, such as the axis.
    """

    name: str
    make: Make
    cause: Reason | None = None
    parameter: str | None = None
    shows: Shows = "backward"
    step: float = 1e-3
    fact: str = ""

    @property
    def order(self) -> int:
        return 2 if self.shows == "second order" else 1

    def __str__(self) -> str:
        return self.name


def of_input(formula: Callable[..., Tensor], rule: Rule, *points: Draw) -> Make:
    """A formula without parameters, at the given points: by default one of shape (3, 4)."""
    drawn = points or (shaped(3, 4),)
    return lambda generator: (ByHand(formula, rule), tuple(point(generator) for point in drawn))
