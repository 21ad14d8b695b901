"""A gradient as a colour: blue where it is positive, red where it is negative, violet where only its length is known."""

import math

POSITIVE, NEGATIVE, LENGTH = (43, 108, 176), (197, 76, 52), (112, 84, 168)
PALEST, STRONGEST = 0.1, 0.62
"""Parts of the full colour for the smallest and the largest gradient: dark letters stay readable on both."""


class Scale:
    """From the smallest to the largest gradient of a picture; by its logarithm where they differ by more than a thousand times."""

    def __init__(self, sizes: list[float]) -> None:
        found = [size for size in sizes if size > 0 and math.isfinite(size)]
        self.largest, self.smallest = max(found, default=1.0), min(found, default=1.0)
        self.logarithmic = self.largest > 1e3 * self.smallest

    def part(self, size: float) -> float:
        """0 for a gradient of zero, up to 1 for the largest."""
        if not size > 0:
            return 0.0
        if self.logarithmic:
            return 0.05 + 0.95 * math.log(size / self.smallest) / math.log(self.largest / self.smallest)
        return math.sqrt(size / self.largest)

    def fill(self, size: float, sign: int) -> str:
        """The colour of a node."""
        return mixed(colour(sign), PALEST + (STRONGEST - PALEST) * self.part(size)) if size > 0 else "#ffffff"


def colour(sign: int) -> tuple[int, int, int]:
    return POSITIVE if sign > 0 else NEGATIVE if sign < 0 else LENGTH


def mixed(full: tuple[int, int, int], part: float) -> str:
    """A colour thinned with white."""
    return "#" + "".join(f"{round(255 + (one - 255) * part):02x}" for one in full)
