"""The table of wrong backward passes. A checker of gradients has to fail each of them, at every seed.

test_checker.py proves without the checker that each fault is there. In the rules, `g` is the upstream gradient.
"""

from tests.wrong.causes import CAUSES
from tests.wrong.formulas import POINTWISE, SHAPING
from tests.wrong.graphs import GRAPHS
from tests.wrong.layers import LAYERS
from tests.wrong.linear import LINEAR
from tests.wrong.record import WrongBackward
from tests.wrong.scales import SCALES
from tests.wrong.second_order import SECOND_ORDER
from tests.wrong.witnesses import WITNESSES

WRONG: list[WrongBackward] = [
    *LINEAR,
    *POINTWISE,
    *SHAPING,
    *LAYERS,
    *GRAPHS,
    *CAUSES,
    *SECOND_ORDER,
    *WITNESSES,
    *SCALES,
]
