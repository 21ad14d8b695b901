"""A claim is a check that any engine can be put to."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from nets.lessons import Function, vjp

LETTERS = {"T": "PyTorch", "N": "NumPy by hand", "S": "SymPy", "F": "TensorFlow", "J": "JAX"}
ALL = "T N S F J"
TO_ROUNDING = 1e-13

Check = Callable[[str], "list[np.ndarray]"]
CLAIMS: dict[str, tuple[str, Check]] = {}


def claim(row: str, engines: str = ALL) -> Callable[[Check], Check]:
    """Enter a check: given an engine's name, it asserts the document's numbers and returns what the engine has
    found."""

    def enter(check: Check) -> Check:
        CLAIMS[row] = (engines, check)
        return check

    return enter


def close(found: ArrayLike | Tensor, expected: ArrayLike | Tensor, tolerance: float = TO_ROUNDING) -> np.ndarray:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tolerance, atol=tolerance)
    return np.asarray(found)


def gradient(
    engine: str, function: Function, x: ArrayLike, expected: ArrayLike, v: ArrayLike | None = None
) -> np.ndarray:
    return close(vjp(engine, function, x, v=v).gradients[0], expected)
