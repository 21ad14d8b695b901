"""The Jacobian of one parameter by two derivations, as matrices for a picture: see `nets.verification.side_by_side`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class JacobianView:
    """∂Y_nk/∂p of one parameter p, as matrices.

    Attributes:
        parameter: its name; 'input' for X.
        formula: the closed form in index form.
        shown: which entries the matrices hold, and what their rows and columns are.
        signed: whether they hold entries; otherwise they hold norms of many entries.
        closed: by the closed form.
        reverse: by reverse mode.
        difference: closed − reverse, entry by entry; if norms are shown, the norm of the differences, so that none
            cancels.
        largest: the largest |entry| of the whole Jacobian, shown or not.
        apart: the largest |closed form − reverse mode| of the whole Jacobian.
        entries: the number of entries of the whole Jacobian.
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
