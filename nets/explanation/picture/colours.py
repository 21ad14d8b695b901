"""A gradient as a colour: blue where it is positive, red where it is negative, violet where only its length is known, yellow where
it is NaN or infinite."""

import math

POSITIVE, NEGATIVE, LENGTH = (43, 108, 176), (197, 76, 52), (112, 84, 168)
NOT_FINITE = "#ffd24d"
"""Of both nodes and edges: there is no strength to show."""

PALEST, STRONGEST = 0.1, 0.62
"""Parts of the full colour for the smallest and the largest gradient: dark letters stay readable on both."""


class Scale:
    """From the smallest to the largest gradient of a picture; by its logarithm where they differ by more than a thousand times."""

    def __init__(self, sizes: list[float]) -> None:
        found = [size for size in sizes if size > 0 and math.isfinite(size)]
        self.largest, self.smallest = max(found, default=1.0), min(found, default=1.0)
        self.logarithmic = self.largest > 1e3 * self.smallest

    def part(self, size: float) -> float:
        """0 for a gradient of zero, up to 1 for the largest finite one."""
        if not size > 0:
            return 0.0
        # Contributions that cancel are larger than their sum, which is what the scale is made of.
        size = min(max(size, self.smallest), self.largest)
        if self.logarithmic:
            low, high = math.log(self.smallest), math.log(self.largest)
            return 0.05 + 0.95 * (math.log(size) - low) / (high - low)
        return math.sqrt(size / self.largest)

    def fill(self, size: float, sign: int) -> str:
        """The colour of a node."""
        if not math.isfinite(size):
            return NOT_FINITE
        return mixed(colour(sign), PALEST + (STRONGEST - PALEST) * self.part(size)) if size > 0 else "#ffffff"

    def line(self, size: float, sign: int) -> str:
        """The colour of an edge that has handed on so much."""
        if not math.isfinite(size):
            return NOT_FINITE
        return mixed(colour(sign), 0.45 + 0.55 * self.part(size)) if size > 0 else "#c9ced8"


def colour(sign: int) -> tuple[int, int, int]:
    return POSITIVE if sign > 0 else NEGATIVE if sign < 0 else LENGTH


def mixed(full: tuple[int, int, int], part: float) -> str:
    """A colour thinned with white."""
    return "#" + "".join(f"{round(255 + (one - 255) * part):02x}" for one in full)
