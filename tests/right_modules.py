"""The table of right modules. A checker of gradients has to pass each of them, at every seed."""

from dataclasses import dataclass

from tests.building import Make
from tests.right.activations import ACTIVATIONS, LOSSES
from tests.right.compositions import COMPOSITIONS
from tests.right.contracts import CONTRACTS
from tests.right.layers import NORMS, POOLS, PRODUCTS, SEQUENCES
from tests.right.scales import SCALES
from tests.right.second_order import SECOND_ORDER
from tests.right.zeros import ZEROS


@dataclass(frozen=True)
class RightModule:
    """A module whose backward pass is right.

    Attributes:
        name: what it is, in words.
        make: the module and its inputs, in float64, drawn from a generator.
        order: of the derivatives that are checked, 1 or 2.
    """

    name: str
    make: Make
    order: int = 1

    def __str__(self) -> str:
        return self.name


TABLE = PRODUCTS | POOLS | NORMS | SEQUENCES | ACTIVATIONS | LOSSES | COMPOSITIONS | SCALES | CONTRACTS | ZEROS
RIGHT: list[RightModule] = [
    *(RightModule(name, make) for name, make in TABLE.items()),
    *(RightModule(f"second order: {name}", make, order=2) for name, make in SECOND_ORDER.items()),
]
