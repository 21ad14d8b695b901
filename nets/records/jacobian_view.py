"""A Jacobian by two derivations, arranged to be looked at: the record that `nets.verification.side_by_side` makes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """∂Y_nk/∂p of one parameter p, as matrices.

    Attributes:
        parameter: its name; 'input' for X.
        formula: the closed form in index form.
        shown: which entries the matrices are made of, and what their rows and columns are.
        signed: whether they hold entries; otherwise norms of many entries, none below zero.
        closed: by the closed form.
        reverse: by reverse mode.
        difference: of the two, entry by entry; where norms are shown, the norm of the differences, so that none
            cancels.
        largest: the largest |entry| of all that the portrait stands for, shown or not.
        apart: the largest |closed form − reverse mode| of all of them.
        entries: how many that are.
    """

    parameter: str
    formula: str
    shown: str
    signed: bool
    closed: NDArray[np.float64]
    reverse: NDArray[np.float64]
    difference: NDArray[np.float64]
    largest: float
    apart: float
    entries: int
