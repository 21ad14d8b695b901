"""The parameters and inputs that are differentiated, and why some tensors cannot be."""

import math
from collections.abc import Collection, Mapping

from torch import Tensor

from nets.errors import InputError
from nets.verification.problem.pytree import largest


def check_points(points: Mapping[str, Tensor], inputs: Collection[str]) -> None:
    """Check that there is a point, that all points hold finite numbers and that no input is empty.

    Args:
        points: name → value.
        inputs: the names of those that are inputs.

    Raises:
        InputError: otherwise.
    """
    if not points:
        raise InputError(
            "the module has no parameter that requires a gradient and no floating-point input; expected something to "
            "differentiate by: call requires_grad_() on it."
        )
    for name, point in points.items():
        if point.numel() and not math.isfinite(largest(point)):
            mask = ", or, where it is a mask, call requires_grad_() on the other inputs, which leaves it out"
            raise InputError(
                f"{name} has an entry that is not finite; expected a point at which a derivative can exist: mend the "
                f"data or the initial values{mask if name in inputs and len(inputs) > 1 else ''}."
            )
        if name in inputs and point.numel() == 0:
            raise InputError(
                f"{name} is empty, of shape {tuple(point.shape)}; expected at least one sample: an empty batch has no "
                "derivative to check."
            )
