"""Whether two vectors are equal up to rounding. Rounding is measured only where they differ by more than the rounding
of a few operations in double precision."""

from collections.abc import Callable

from torch import Tensor

from nets.verification.accumulation.rounding.modes import RoundingExceptClones
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

EQUAL_VECTORS = 1e-9
"""Two vectors in double precision are equal if they differ by less than this part of the largest entry."""

TOO_LARGE = 1e-3
"""Rounding explains no difference above this part of the largest entry."""

EQUALITY_PASSES = 2
"""Runs with stochastic rounding."""


class RoundingNoise:
    """The change that rounding makes in some vectors, measured once it is needed.

    Args:
        again: computes the vectors.
        exact: the vectors without stochastic rounding.
        seed: of the rounding.
    """

    def __init__(self, again: Callable[[], list[Tensor]], exact: list[Tensor], seed: int) -> None:
        self._again, self._exact, self._seed = again, exact, seed
        self._measured: float | None = None

    def explains(self, one: list[Tensor], other: list[Tensor], scale: float = 0.0) -> bool:
        """Whether the vectors are equal up to rounding.

        Args:
            one, other: the vectors.
            scale: the size that the difference is compared with; 0 for the largest entry of the vectors.
        """
        error = max((largest(a - b) for a, b in zip(one, other, strict=True) if a.numel()), default=0.0)
        size = scale or max((largest(vector) for vector in (*one, *other) if vector.numel()), default=0.0)
        if error <= EQUAL_VECTORS * size or error > TOO_LARGE * size:
            return error <= EQUAL_VECTORS * size
        if self._measured is None:
            self._measured = self._measure()
        return error <= ROUNDING_SAFETY * self._measured

    def _measure(self) -> float:
        generator, changes = stream(self._seed, "rounding of two vectors"), [0.0]
        for _ in range(EQUALITY_PASSES):
            with RoundingExceptClones(generator):
                again = self._again()
            changes += [largest(a - b) for a, b in zip(again, self._exact, strict=True) if a.numel()]
        return max(changes)
