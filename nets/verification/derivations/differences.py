"""Central differences with their own error bars. They need nothing but the forward pass.

    D(h) = (f(p + h) − f(p − h)) / 2h = f′ + h²/6 f‴ + O(h⁴)            noise ε of f adds at most ε / h
    T(h) = (D(h) − D(2h)) / 3                                            measures the h² term of D(h)
    E(h) = (4 D(h) − D(2h)) / 3 = f′ + O(h⁴)                             is off by about T · T/|f′|, and 3/2 ε / h

Every entry is measured once by D(h), at one step for the whole point. Where an entry disagrees with the derivation that
it is compared with, `refinement` measures it again by E(h), at each step of a ladder.
Source: Fornberg, Mathematics of Computation 51 (1988); Press et al., "Numerical Recipes", section 5.7.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from nets.verification.attempt import Unavailable, attempt
from nets.verification.derivations.columns import CHUNK
from nets.verification.derivations.kinks import BENT
from nets.verification.derivations.slopes import DIFFERENCE_SAFETY
from nets.verification.derivations.variable import Variable

LADDER = tuple(2.0**-k for k in range(2, 27, 3))
"""The steps h that are tried, in units of 1 and of the size of the point. Powers of two, so that p + h is exact for
most p."""

PROBES = 4
"""The number of entries that are measured to choose the step."""

SHARED_TRUNCATION = 1e-5
"""The truncation error of one row is a tolerance for every row, up to this part of the largest entry of that row. It is
far below a thousandth, the smallest fault that is to be found."""


@dataclass(frozen=True, slots=True)
class Measured:
    """∂Y/∂point by differences.

    Attributes:
        jacobian: shape (M, P).
        tolerance: the largest error of each entry, of a shape that broadcasts to (M, P).
        step: h of D(h).
        bent: whether the slopes to the left and to the right differ so much that there may be a kink, shape (M, P);
            None if they were not compared.
        gap: the largest difference of the two slopes in any output, 0 where it is noise, shape (P,); None if they were
            not compared.
    """

    jacobian: Tensor
    tolerance: Tensor
    step: float
    bent: Tensor | None = None
    gap: Tensor | None = None


def measure(variable: Variable) -> Measured:
    """Every entry of ∂Y/∂point by D(h), two evaluations each."""
    step, truncation, rounding = _suited_step(variable)
    jacobian, gap = _sweep_batched(variable, step) or _sweep(variable, step)
    gap.abs_()
    gap.masked_fill_(gap <= 4 * DIFFERENCE_SAFETY * rounding[:, None] / step, 0)
    # The slopes on the two sides are D ± gap/2, so the larger one has the size |D| + |gap|/2. An entry is bent if the
    # gap is more than BENT of that.
    bent = gap * (1 / BENT - 1 / 2) > jacobian.abs()
    # The largest truncation error of any row is allowed in each row, up to a part of the row's own size.
    shared = (SHARED_TRUNCATION * jacobian.abs().amax(1).nan_to_num_(nan=torch.inf)).clamp(max=float(truncation.max()))
    tolerance = DIFFERENCE_SAFETY * (rounding / step + torch.maximum(truncation, shared))
    return Measured(jacobian, tolerance[:, None], step, bent, gap.amax(0))


def _suited_step(variable: Variable) -> tuple[float, Tensor, Tensor]:
    """The step h with the smallest error on PROBES entries, and the truncation and rounding errors of D(h) there, each
    of shape (M,)."""
    floor, count = variable.floor, len(variable.values)
    probes = torch.randperm(count, generator=variable.stream("steps"))[:PROBES].tolist()
    best, step, truncation, rounding = torch.inf, LADDER[0], torch.zeros_like(floor), floor
    wider, wide = None, 0.0
    for h in steps(variable.problem.points[variable.name]):
        if float(floor.max()) / h > best:
            break  # the error by noise alone is larger than the best error, and grows as h shrinks
        slopes = [variable.slopes(entry, h) for entry in probes]
        found = torch.stack([slope.central for slope in slopes])
        noise = torch.stack([floor, *(slope.noise for slope in slopes)]).amax(0)
        if wider is not None:
            # D(rh) − D(h) = (r² − 1) h² f‴/6, with r the ratio of two steps.
            second_order = (wider - found).abs() / (min(wide / h, 1e100) ** 2 - 1)
            error = float(torch.nan_to_num(second_order + noise / h, nan=torch.inf).max())
            if error < best:
                best, step, truncation, rounding = error, h, second_order.amax(0), noise
        wider, wide = found, h
    return step, truncation, rounding


def measure_twice(variable: Variable, step: float) -> Measured:
    """Every entry of ∂Y/∂point by E(h), four evaluations each, with an error bar of its own for each."""
    pairs = [
        torch.stack([variable.slopes(entry, step).central, variable.slopes(entry, 2 * step).central])
        for entry in range(len(variable.values))
    ]
    narrow, wide = torch.stack(pairs, -1)
    derivative, error = extrapolated(narrow, wide)
    return Measured(derivative, DIFFERENCE_SAFETY * (error + 1.5 * variable.floor[:, None] / step), step)


def steps(point: Tensor) -> list[float]:
    """The steps of the ladder in each of the units of the point, largest first."""
    return sorted({h * unit for h in LADDER for unit in units(point)}, reverse=True)


def units(point: Tensor) -> tuple[float, ...]:
    """1; and the size of the point's numbers as a power of two, unless it is near 1."""
    largest = float(point.abs().max())
    # Divided by the largest, since the square of 1e200 overflows.
    size = largest * float((point / largest).square().mean().sqrt()) if largest > 0 else 0.0
    far = size > 0 and not 1 / 8 < size < 8
    return (1.0, 2.0 ** round(math.log2(size))) if far else (1.0,)


def _sweep(variable: Variable, step: float) -> tuple[Tensor, Tensor]:
    """D(h) and the gap between the slopes along every entry, each of shape (M, P)."""
    found = [variable.slopes(entry, step) for entry in range(len(variable.values))]
    return torch.stack([slope.central for slope in found], 1), torch.stack([slope.gap for slope in found], 1)


def _sweep_batched(variable: Variable, step: float) -> tuple[Tensor, Tensor] | None:
    """The same, many entries at a time under vmap; None where the module cannot be batched."""
    problem, name = variable.problem, variable.name
    point = problem.points[name]
    count = point.numel()
    width = max(1, min(count, CHUNK // count))
    if problem.random or width == 1 or not problem.reached(name):
        return None
    # Each copy of the point has one entry moved.
    copies = point.reshape(1, -1).repeat(width, 1)
    upper, lower = point.reshape(-1) + step, point.reshape(-1) - step
    above, below = point.new_empty(2, count, len(problem.y))

    def evaluate_all() -> None:
        function = vmap(lambda moved: problem.along(name, moved))
        for start in range(0, count, width):
            found = slice(start, min(start + width, count))
            rows = copies[: found.stop - start]
            # Copy k has entry start + k moved, which is the k-th entry of a diagonal.
            moved = copies.view(-1)[start :: count + 1][: len(rows)]
            for side, values in ((upper, above), (lower, below)):
                moved.copy_(side[found])
                values[found] = function(rows.view(-1, *point.shape))
            moved.copy_(point.reshape(-1)[found])

    with torch.no_grad():
        if isinstance(attempt(evaluate_all), Unavailable):
            return None
    central = (above - below).div_((upper - lower)[:, None])
    gap = above.sub_(problem.y).sub_(problem.y - below).div_(step)
    return central.mT.contiguous(), gap.mT.contiguous()


def extrapolated(narrow: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
    """E(h) from D(h) and D(2h), and the size of the truncation error that is left in it."""
    derivative = (4 * narrow - wide) / 3
    second_order = (narrow - wide).abs() / 3
    scale = derivative.abs().max().clamp(min=torch.finfo(derivative.dtype).tiny)
    return derivative, second_order * (second_order / scale).clamp(max=1.0)
