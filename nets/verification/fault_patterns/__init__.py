"""Mistakes that a wrong Jacobian may come from. One is named only if it explains every entry that is known.

fault.py         the wrong Jacobian, and which of its entries are known to be right; begin here
scales.py        one factor for all entries
rearranged.py    right numbers in wrong places
places.py        which entries are wrong, if that is simple to say
experiments.py   mistakes that are tried: rerun.py runs the backward pass with other random numbers, and surrogates.py
                 replaces operations of the module by those that may have been differentiated in their place
"""

import torch

from nets.records.reason import Finding
from nets.verification.fault_patterns.experiments import found_by_experiment
from nets.verification.fault_patterns.fault import Fault
from nets.verification.fault_patterns.places import one_row, samples, side
from nets.verification.fault_patterns.rearranged import conjugated, cotangent_ignored, shifted, symmetric, transposed
from nets.verification.fault_patterns.scales import scaled, zero


def known_to_the_problem(fault: Fault) -> Finding | None:
    """A mistake that only this kind of problem knows, such as those of second order."""
    return fault.problem.explained(fault.name, fault.actual, fault.expected)


MISTAKES = (
    known_to_the_problem, zero, scaled, cotangent_ignored, transposed, conjugated, shifted, symmetric,
    found_by_experiment,
)  # fmt: skip
"""Each gives a finding, or None where it does not fit. Those that explain every entry come first."""

PLACES = (one_row, samples, side)
"""Further mistakes, which are named only for a fault that stands out."""


def mistake(fault: Fault) -> Finding | None:
    """The first mistake that fits; None where none does."""
    if not torch.isfinite(fault.actual).all() or not torch.isfinite(fault.expected).all():
        return None
    guesses = (*MISTAKES, *PLACES) if fault.stands_out() else MISTAKES
    return next((found for guess in guesses if (found := guess(fault)) is not None), None)
