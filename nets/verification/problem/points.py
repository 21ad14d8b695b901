"""The parameters and inputs that are differentiated by."""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from nets.errors import InputError
from nets.verification.problem.copies import cast
from nets.verification.problem.pytree import largest


def check_points(points: Mapping[str, Tensor], inputs: Collection[str]) -> None:
    """InputError unless there is a point, and all of them hold finite numbers and no input is empty."""
    if not points:
        raise InputError(
            "the module has no parameter that requires a gradient and no floating-point input; expected something to "
            "differentiate by: call requires_grad_() on it."
        )
    for name, point in points.items():
        if point.numel() and not math.isfinite(largest(point)):
            mask = ", or, where it is a mask, call requires_grad_() on the other inputs, which leaves it out"
            raise InputError(
                f"{name} has an entry that is not finite; expected a point at which a derivative can exist: mend the data or "
                f"the initial values{mask if name in inputs and len(inputs) > 1 else ''}."
            )
        if name in inputs and point.numel() == 0:
            raise InputError(
                f"{name} is empty, of shape {tuple(point.shape)}; expected at least one sample: there is no derivative "
                "to check in an empty batch."
            )


def moved_by_a_call(module: nn.Module, places: Mapping[str, tuple[Tensor, int]], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Frozen parameters that a call writes to, such as a count, as they were; InputError if one is in other memory now."""
    moving = {}
    for name, (parameter, place) in places.items():
        if parameter.data_ptr() != place:
            raise InputError(
                f"{name} is given other memory when the module is called; expected it to stay where it can be moved: write "
                "parameter.data.copy_(…) in the place of parameter.data = …"
            )
        given = None if parameter.requires_grad else cast(module.get_parameter(name).detach().cpu(), dtype)
        if given is not None and not torch.equal(parameter, given):
            moving[name] = given.clone()
    return moving
