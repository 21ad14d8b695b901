"""Central differences as a derivation: measured once, and again where they disagree with the derivation that is
judged."""

from statistics import median

import torch
from torch import Tensor

from nets.records.method import Method
from nets.verification.compare.derivation import Derivation, excess
from nets.verification.derivations.differences import Measured, measure, measure_twice
from nets.verification.derivations.kinks import kink, kink_off_the_axes
from nets.verification.derivations.refinement import Refined, refine, refine_near
from nets.verification.derivations.variable import Variable
from nets.verification.problem.randomness import stream

REMEASURED = 32
"""Columns that disagree with a difference and are measured again, the worst first; the verdict rests on these."""

SURE = 8
"""Columns that are measured again if each of them turns out to be wrong: half of them the worst, half the most
doubtful."""

REMEASURED_AT_MOST = 256
"""Columns that disagree and are all measured again, if none of the first was confirmed to be wrong."""


def by_difference(variable: Variable, actual: Tensor) -> Derivation:
    """Central differences of every entry; those that disagree with `actual`, shape (M, P), are measured again."""
    measured = measure(variable)
    second_look = _SecondLook(variable, actual, measured)
    if not second_look.settled:
        # Many disagree, and none of those measured again was confirmed: the one step suits too few of the entries.
        second_look = _SecondLook(variable, actual, measure_twice(variable, second_look.suited_step))
    return Derivation(Method.CENTRAL_DIFFERENCE, second_look.jacobian, second_look.tolerance, second_look.kinked)


class _SecondLook:
    """Differences in which the columns that disagree with a derivation are measured again, and kinks are looked for.

    Args:
        actual: the derivation that is judged, shape (M, P).
        measured: the differences, which it changes.

    Attributes:
        jacobian, tolerance, kinked: the differences after that, and where there is no derivative; each of shape (M, P).
        settled: whether the verdict can rest on them.
        suited_step: the step that suits the columns that were measured again.
    """

    def __init__(self, variable: Variable, actual: Tensor, measured: Measured) -> None:
        self._variable, self._actual, self._measured = variable, actual, measured
        self.jacobian, self.tolerance = measured.jacobian, measured.tolerance.expand_as(actual).clone()
        self.kinked = torch.zeros_like(actual, dtype=torch.bool)
        self._steps = list[float]()
        off, self._rows = excess(actual, self.jacobian, measured.tolerance).max(0)
        suspects = (off > 1).nonzero()[:, 0]
        self.settled = self._look(suspects, suspects[off[suspects].argsort(descending=True)], agrees=off <= 1)

    @property
    def suited_step(self) -> float:
        return median(self._steps)

    def _look(self, suspects: Tensor, worst_first: Tensor, agrees: Tensor) -> bool:
        """Measure suspects again until the verdict can rest on them; whether it can."""
        bent = self.kinked.clone() if self._measured.bent is None else self._measured.bent
        chosen = suspects
        if len(suspects) > REMEASURED:
            chosen = torch.cat([worst_first[: REMEASURED // 2], self._some(suspects, REMEASURED // 2)]).unique()
        # If the worst and the most doubtful are all wrong, the ones in between need no second look.
        few = worst_first
        if len(few) > SURE:
            few = torch.cat([worst_first[: SURE // 2], worst_first[-SURE // 2 :]])
        confirmed = (bool(len(few)) and self._all_wrong(few)) or self._any_wrong(chosen)
        if not confirmed and not self.kinked.any() and len(chosen) < len(suspects) <= REMEASURED_AT_MOST:
            confirmed, chosen = self._any_wrong(suspects[~torch.isin(suspects, chosen)]), suspects
        # A kink need not show as a disagreement: in the middle of |x| the slopes have the mean 0, as the backward may
        # have.
        for entry in self._may_be_kinks(bent, agrees):
            self.kinked[:, entry] = kink(self._variable, entry)
        if confirmed and len(chosen) == len(suspects):
            self.kinked |= kink_off_the_axes(self._variable, self.jacobian)[:, None]
        if self.kinked.any() and not confirmed:
            # Too many to look at each: those that look like the kinks that were found count as kinks.
            self.kinked |= bent.index_fill(1, chosen, False)
        return confirmed or bool(self.kinked.any()) or len(chosen) == len(suspects)

    def _all_wrong(self, entries: Tensor) -> bool:
        """Whether the first of them is wrong over the whole ladder, and each other at steps near that of the first
        measurement."""
        first, *others = entries.tolist()
        if not self._is_wrong(first, refine(self._variable, first)):
            return False
        return all(self._is_wrong(entry, refine_near(self._variable, entry, self._measured.step)) for entry in others)

    def _any_wrong(self, entries: Tensor) -> bool:
        # A list, since each of them must be measured.
        return any([self._is_wrong(entry, refine(self._variable, entry)) for entry in entries.tolist()])

    def _is_wrong(self, entry: int, column: Refined) -> bool:
        """Whether a column is wrong by its second measurement, which replaces the first."""
        turns = self._actual[:, entry].abs() >= column.steepest
        self.jacobian[:, entry], self.kinked[:, entry] = column.derivative, column.kink
        self.tolerance[:, entry] = column.tolerance.masked_fill(turns, torch.inf)
        self._steps.append(float(column.step[self._rows[entry]]))
        # A derivative that is not finite lies beyond the edge of the domain, and is no evidence.
        known = ~column.kink & ~turns & torch.isfinite(column.derivative)
        return bool(((excess(self._actual[:, entry], column.derivative, column.tolerance) > 1) & known).any())

    def _may_be_kinks(self, bent: Tensor, agrees: Tensor) -> list[int]:
        """Columns to measure again: some of those that agree and have a kink, and those without one whose slopes to
        the left and to the right differ most."""
        found = self._some((bent.any(0) & agrees).nonzero()[:, 0], REMEASURED).tolist()
        if self._measured.gap is None:
            return found
        gaps = torch.where(bent.any(0) | ~agrees, 0.0, self._measured.gap)
        faint = gaps.argsort(descending=True)[: REMEASURED // 2]
        return [*found, *faint[gaps[faint] > 0].tolist()]

    def _some(self, entries: Tensor, most: int) -> Tensor:
        """At most so many of them, chosen at random."""
        generator = stream(self._variable.problem.seed, "measured again")
        return entries[torch.randperm(len(entries), generator=generator)][:most]
