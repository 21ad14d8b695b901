"""What a wrong Jacobian looks like: a guess at the cause, where the pattern is plain.

- `fault`: the record of a wrong Jacobian, and which of its entries are known to be right.
- `scales`: one factor for all entries. `rearranged`: right numbers in wrong places. `places`: which entries are the wrong ones.
- `experiments`: causes that are tried, by `rerun`, the same backward pass under other conditions, and by `surrogates`, functions
  that were differentiated in the place of the module.
"""

import torch

from nets.records.reason import Finding
from nets.verification.fault_patterns.experiments import found_by_experiment
from nets.verification.fault_patterns.fault import Fault
from nets.verification.fault_patterns.places import one_row, samples, side
from nets.verification.fault_patterns.rearranged import conjugated, shifted, symmetric, transposed, upstream_ignored
from nets.verification.fault_patterns.scales import scaled, zero


def known_to_the_problem(fault: Fault) -> Finding | None:
    """A cause that this kind of problem finds by means of its own."""
    return fault.problem.explained(fault.name, fault.actual, fault.expected)


CAUSES = (
    known_to_the_problem, zero, scaled, upstream_ignored, transposed, conjugated, shifted, symmetric, found_by_experiment,
)  # fmt: skip
"""Each gives a finding, or None where it does not fit. What explains every entry comes before what says which are wrong."""

PLACES = (one_row, samples, side)
"""The same, of a fault that stands out."""


def cause(fault: Fault) -> Finding | None:
    """What was done instead of the right thing; None where no pattern fits."""
    if not torch.isfinite(fault.actual).all() or not torch.isfinite(fault.expected).all():
        return None
    guesses = (*CAUSES, *PLACES) if fault.stands_out() else CAUSES
    return next((found for guess in guesses if (found := guess(fault)) is not None), None)
