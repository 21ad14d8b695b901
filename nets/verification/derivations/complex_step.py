"""The complex step: Im f(p + i h t) / h, a difference without a subtraction.

It is exact to rounding, and the same for every small h, where every operation of f is analytic.
Source: Squire, Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40 (1998).
"""

import torch
from torch import Tensor

from nets.verification.attempt import Available, attempt
from nets.verification.derivations.analytic import OnlyAnalytic
from nets.verification.derivations.columns import single_columns
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import signed, stream

COMPLEX_STEP = 1e-30

WIDER = 1e10
"""The factor by which a second step is longer, to see whether the step matters."""


def complex_step(problem: Problem, name: str, h: float = COMPLEX_STEP) -> Tensor | None:
    """∂Y/∂p, shape (M, P); None if the module does not take complex numbers, or an operation in it is not analytic."""
    point = problem.points[name]

    def along(t: Tensor) -> Tensor:
        return problem.in_complex({**problem.points, name: torch.complex(point, h * t)}).imag / h

    if not problem.reached(name) or not _passes_analytic_operations(problem, name, h):
        return None
    return single_columns(point, along)


def does_not_depend_on_the_step(problem: Problem, name: str, jacobian: Tensor) -> bool:
    """Whether a step 10¹⁰ times as long gives the same. It does not for x|x| at zero, which is not analytic there: its
    complex step gives h."""
    wider = complex_step(problem, name, COMPLEX_STEP * WIDER)
    return wider is not None and bool((jacobian - wider).abs().max() <= 1e-6 * wider.abs().max())


def _passes_analytic_operations(problem: Problem, name: str, h: float) -> bool:
    """Whether a step along a direction without zeros meets analytic operations only; then every other step does."""
    point = problem.points[name]
    t = signed(point.numel(), stream(problem.seed, "complex direction", name)).to(point.dtype).reshape(point.shape)

    def step() -> Tensor:
        with OnlyAnalytic():
            return problem.in_complex({**problem.points, name: torch.complex(point, h * t)})

    with torch.no_grad():
        return isinstance(attempt(step), Available)
