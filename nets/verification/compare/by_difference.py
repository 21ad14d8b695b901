"""Central differences as a derivation: every entry is measured once, and again where it disagrees with the derivation
that is judged."""

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
"""Of the columns that disagree with a difference, so many are measured again. The verdict depends on these."""

SURE = 8
"""If so many columns are wrong when they are measured again, no other column is: half of them are those that disagree
most, half those that disagree least."""

REMEASURED_AT_MOST = 256
"""If none of the first columns is confirmed to be wrong, all columns that disagree are measured again, up to so
many."""


def by_difference(variable: Variable, actual: Tensor) -> Derivation:
    """Central differences of every entry. Entries that disagree with `actual`, shape (M, P), are measured again."""
    measured = measure(variable)
    second_look = _SecondLook(variable, actual, measured)
    if not second_look.settled:
        # Many columns disagree, and none was confirmed to be wrong: the step does not suit most of the entries.
        second_look = _SecondLook(variable, actual, measure_twice(variable, second_look.suited_step))
    return Derivation(Method.CENTRAL_DIFFERENCE, second_look.jacobian, second_look.tolerance, second_look.kinked)


class _SecondLook:
    """Measures again the columns that disagree with a derivation, and looks for kinks.

    Args:
        actual: the derivation that is judged, shape (M, P).
        measured: the differences; they are changed in place.

    Attributes:
        jacobian, tolerance: the differences after that; each of shape (M, P).
        kinked: where there is no derivative, shape (M, P).
        settled: whether a verdict is possible.
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
        """Measure columns that disagree again, and look for kinks. Returns whether a verdict is possible.

        Args:
            suspects: the columns that disagree, in order.
            worst_first: the same, the one that disagrees most first.
            agrees: whether each column agrees, shape (P,).
        """
        bent = self.kinked.clone() if self._measured.bent is None else self._measured.bent
        chosen = suspects
        if len(suspects) > REMEASURED:
            chosen = torch.cat([worst_first[: REMEASURED // 2], self._some(suspects, REMEASURED // 2)]).unique()
        # If the columns that disagree most and least are all wrong, so are those in between.
        few = worst_first
        if len(few) > SURE:
            few = torch.cat([worst_first[: SURE // 2], worst_first[-SURE // 2 :]])
        confirmed = (bool(len(few)) and self._all_wrong(few)) or self._any_wrong(chosen)
        if not confirmed and not self.kinked.any() and len(chosen) < len(suspects) <= REMEASURED_AT_MOST:
            confirmed, chosen = self._any_wrong(suspects[~torch.isin(suspects, chosen)]), suspects
        # A derivation may agree with the difference at a kink: at 0 the central difference of |x| is 0, and so is the
        # gradient of PyTorch.
        for entry in self._may_be_kinks(bent, agrees):
            self.kinked[:, entry] = kink(self._variable, entry)
        if confirmed and len(chosen) == len(suspects):
            self.kinked |= kink_off_the_axes(self._variable, self.jacobian)[:, None]
        if self.kinked.any() and not confirmed:
            # There are too many to measure each: entries that look like the kinks that were found count as kinks.
            self.kinked |= bent.index_fill(1, chosen, False)
        return confirmed or bool(self.kinked.any()) or len(chosen) == len(suspects)

    def _all_wrong(self, entries: Tensor) -> bool:
        """Whether all of these columns are wrong. The first is measured at every step of the ladder; the others at a
        few steps near the one of the first measurement."""
        first, *others = entries.tolist()
        if not self._is_wrong(first, refine(self._variable, first)):
            return False
        return all(self._is_wrong(entry, refine_near(self._variable, entry, self._measured.step)) for entry in others)

    def _any_wrong(self, entries: Tensor) -> bool:
        # A list, since each of them must be measured.
        return any([self._is_wrong(entry, refine(self._variable, entry)) for entry in entries.tolist()])

    def _is_wrong(self, entry: int, column: Refined) -> bool:
        """Whether a column disagrees with its second measurement as well, which replaces the first."""
        turns = self._actual[:, entry].abs() >= column.steepest
        self.jacobian[:, entry], self.kinked[:, entry] = column.derivative, column.kink
        self.tolerance[:, entry] = column.tolerance.masked_fill(turns, torch.inf)
        self._steps.append(float(column.step[self._rows[entry]]))
        # A derivative that is not finite was measured outside of the domain of f, and proves nothing.
        known = ~column.kink & ~turns & torch.isfinite(column.derivative)
        return bool(((excess(self._actual[:, entry], column.derivative, column.tolerance) > 1) & known).any())

    def _may_be_kinks(self, bent: Tensor, agrees: Tensor) -> list[int]:
        """Further columns to look for kinks in: some that agree and seem to have a kink, and the others whose slopes to
        the left and to the right differ most."""
        found = self._some((bent.any(0) & agrees).nonzero()[:, 0], REMEASURED).tolist()
        if self._measured.gap is None:
            return found
        gaps = torch.where(bent.any(0) | ~agrees, 0.0, self._measured.gap)
        faint = gaps.argsort(descending=True)[: REMEASURED // 2]
        return [*found, *faint[gaps[faint] > 0].tolist()]

    def _some(self, entries: Tensor, most: int) -> Tensor:
        """At most so many of the entries, chosen at random."""
        generator = stream(self._variable.problem.seed, "measured again")
        return entries[torch.randperm(len(entries), generator=generator)][:most]
