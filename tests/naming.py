"""Names of test cases that are the same in every process: without addresses and without random numbers."""

import re

from torch import Tensor

from nets.errors import quoted


def named(value: object) -> str:
    """The value as a message writes it; a tensor by its shape."""
    return (
        f"tensor{tuple(value.shape)}" if isinstance(value, Tensor) else re.sub(r" at 0x[0-9A-Fa-f]+", "", quoted(value))
    )
