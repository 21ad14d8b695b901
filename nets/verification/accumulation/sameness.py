"""Whether two vectors are the same but for rounding, which is measured where they are not the same in double precision."""

from collections.abc import Callable

from torch import Tensor

from nets.verification.accumulation.graph_rounding import Rounding
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

SAME = 1e-9
"""Two vectors in double precision that differ by less than this part of the larger one are the same but for rounding."""

COARSE = 1e-3
"""Rounding explains no difference that is more than this part of the larger vector."""

PASSES = 2
"""Runs with results rounded at random that measure what rounding explains, where two vectors differ by more than SAME."""


class Noise:
    """What rounding explains of the difference of two vectors: measured, once two differ by more than double precision does.

    Args:
        again: the vectors, computed anew.
        here: what they are without random rounding.
        seed: of the rounding.
    """

    def __init__(self, again: Callable[[], list[Tensor]], here: list[Tensor], seed: int) -> None:
        self._again, self._here, self._seed = again, here, seed
        self._measured: float | None = None

    def explains(self, one: list[Tensor], other: list[Tensor], scale: float = 0.0) -> bool:
        """Whether they are the same but for rounding, measured by the largest number or by `scale`."""
        error = max((largest(a - b) for a, b in zip(one, other, strict=True) if a.numel()), default=0.0)
        size = scale or max((largest(vector) for vector in (*one, *other) if vector.numel()), default=0.0)
        if error <= SAME * size or error > COARSE * size:
            return error <= SAME * size
        if self._measured is None:
            generator, changes = stream(self._seed, "rounding of two vectors"), [0.0]
            for _ in range(PASSES):
                with Rounding(generator):
                    again = self._again()
                changes += [largest(a - b) for a, b in zip(again, self._here, strict=True) if a.numel()]
            self._measured = max(changes)
        return error <= ROUNDING_SAFETY * self._measured
