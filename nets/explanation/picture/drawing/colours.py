"""A gradient as a colour: blue if positive, red if negative, violet if it is a length, yellow if NaN or infinite."""

import math

POSITIVE, NEGATIVE, LENGTH = (43, 108, 176), (197, 76, 52), (112, 84, 168)
NOT_FINITE = "#ffd24d"
"""The colour of a gradient that is NaN or infinite, for nodes and edges."""

PALEST, STRONGEST = 0.1, 0.62
"""Share of the full colour for the smallest and the largest gradient of a node. Dark text is readable on both."""


class Scale:
    """Maps the sizes of the gradients of a picture to shares of the full colour.

    The scale is logarithmic if the largest size is more than a thousand times the smallest.

    Args:
        sizes: of all gradients; zeros and sizes that are not finite do not count.
    """

    def __init__(self, sizes: list[float]) -> None:
        counted = [size for size in sizes if size > 0 and math.isfinite(size)]
        self.largest, self.smallest = max(counted, default=1.0), min(counted, default=1.0)
        self.logarithmic = self.largest > 1e3 * self.smallest

    def share(self, size: float) -> float:
        """0 for a gradient of zero, up to 1 for the largest finite one."""
        if not size > 0:
            return 0.0
        # A contribution may be larger than every gradient, if contributions cancel.
        size = min(max(size, self.smallest), self.largest)
        if self.logarithmic:
            low, high = math.log(self.smallest), math.log(self.largest)
            return 0.05 + 0.95 * (math.log(size) - low) / (high - low)
        return math.sqrt(size / self.largest)

    def node_fill(self, size: float, sign: int) -> str:
        """The fill of a box whose gradient has this size and sign."""
        if not math.isfinite(size):
            return NOT_FINITE
        return mixed(colour(sign), PALEST + (STRONGEST - PALEST) * self.share(size)) if size > 0 else "#ffffff"

    def edge_stroke(self, size: float, sign: int) -> str:
        """The colour of an edge along which a contribution of this size and sign was sent backward."""
        if not math.isfinite(size):
            return NOT_FINITE
        return mixed(colour(sign), 0.45 + 0.55 * self.share(size)) if size > 0 else "#c9ced8"


def colour(sign: int) -> tuple[int, int, int]:
    """The full colour for a sign: 1, −1, or 0 for a length, which has none."""
    return POSITIVE if sign > 0 else NEGATIVE if sign < 0 else LENGTH


def mixed(full: tuple[int, int, int], share: float) -> str:
    """A share of the full colour, the rest white."""
    return "#" + "".join(f"{round(255 + (channel - 255) * share):02x}" for channel in full)
