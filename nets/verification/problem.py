"""What is verified: a module at a point, as one function of named tensors, in double precision and on copies."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nets.errors import InputError


class Problem:
    """Y = f(θ, X) as a function of named points, with Y flattened to M entries.

    The module is a copy in float64; the caller's is never called.

    Attributes:
        points: every parameter under its name, then the input under 'input'.
        output_shape: the shape of Y before it is flattened.
    """

    def __init__(self, module: nn.Module, x: Tensor) -> None:
        if not x.is_floating_point():
            raise InputError(
                f"X is {x.dtype}; expected floating-point numbers, since only those can be differentiated by."
            )
        if not torch.isfinite(x).all():
            raise InputError(
                "X has an entry that is not finite; expected numbers at which a derivative exists: clean the data."
            )
        self.module = copy.deepcopy(module).to(torch.float64)
        self.points = {name: parameter.detach() for name, parameter in self.module.named_parameters()}
        self.points["input"] = x.detach().to(torch.float64)
        with torch.no_grad():
            y = self.module(self.points["input"])
        self.output_shape = tuple(y.shape)
        self.y = y.flatten()

    def __call__(self, points: Mapping[str, Tensor]) -> Tensor:
        """Y at other points, shape (M,)."""
        parameters = {name: point for name, point in points.items() if name != "input"}
        return functional_call(self.module, parameters, (points["input"],)).flatten()

    def along(self, name: str, point: Tensor) -> Tensor:
        """Y, shape (M,), where only `name` has moved."""
        return self({**self.points, name: point})

    def index(self, name: str, row: int, column: int) -> tuple[int, ...]:
        """Where an entry of the (M, P) matrix ∂Y/∂name stands: the index of the output, then that in the parameter."""
        return _unravel(row, self.output_shape) + _unravel(column, tuple(self.points[name].shape))


def _unravel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), shape))
