"""The rounding noise of each output, by stochastic rounding at the point and beside it, and by how the output jitters
on a line."""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from nets.errors import InputError
from nets.verification.noise.rounding import StochasticRounding
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import signed, stream

OUTPUT_PASSES = 16
"""Runs with stochastic rounding. The noise of an output is its largest deviation in all of them, since two errors may
cancel in one run."""

FEW_PASSES = 4
"""Runs if only the largest of many deviations is needed, or the length of their vector."""

BESIDE = 2.0**-20
"""The distance from the point, relative to its numbers, at which the noise is measured too."""

LINE_POINTS, LINE_SPACING, ORDERS = 16, 2.0**-34, range(3, 9)
"""The points on a line at which the jitter of an output is measured, their distance relative to the numbers of the
point, and the orders of the differences that show the jitter."""


def output_floor(problem: Problem, seed: int, passes: int = OUTPUT_PASSES, eps: float = 0.0) -> Tensor:
    """The noise of each output: max over the passes of |Y′_m − Y_m|, and at least u |Y_m|. Shape (M,).

    At the point itself numbers may be whole, or equal and cancel, so that nothing is rounded there. Differences are
    computed beside the point, so a quarter as many passes are made there. No pass shows the rounding within an
    operation, such as that of the sum in a log-softmax; it shows in the jitter of Y along a line.

    Args:
        problem: the function.
        seed: of the rounding.
        passes: runs with stochastic rounding.
        eps: of a coarser precision, for the noise that outputs would have in it; 0 for their own.
    """
    generator = stream(seed, "rounding of the output")
    # The error of a result that underflows is up to half of the smallest number.
    numbers = torch.finfo(problem.y.dtype)
    floor = (problem.y.abs() * problem.unit.clamp(min=eps / 2)).clamp_(min=numbers.smallest_normal * numbers.eps)
    floor = torch.maximum(floor, _largest_change(problem, problem.y, generator, passes, eps))
    if not eps:
        floor = torch.maximum(floor, 3 * _jitter(problem, seed))
    try:
        with beside(problem, seed), torch.no_grad():
            return torch.maximum(floor, _largest_change(problem, problem.evaluate(), generator, passes // 4, eps))
    except InputError:  # outside the domain of the function
        return floor


@contextlib.contextmanager
def beside(problem: Problem, seed: int) -> Iterator[None]:
    """Within this context every number of every point is larger or smaller by up to BESIDE of itself."""
    with problem.put_back():
        for name, point in problem.points.items():
            step = signed(point.numel(), stream(seed, "beside the point", name)).view(point.shape).to(point.dtype)
            point.mul_(1 + BESIDE * step)
        yield


def _jitter(problem: Problem, seed: int) -> Tensor:
    """The standard deviation of the noise of each output along a line: min_k median_i |Δᵏ Y(i)| / √C(2k, k) / 0.67.
    Shape (M,); zero where the line leaves the domain.

    Pure noise gives the same value at every order k. A smooth function gives less at a high order, even if it turns
    within a billionth. A kink or a jump on the line affects few differences of a low order, so their median ignores it.
    Source: Moré and Wild, "Estimating computational noise", SIAM Journal on Scientific Computing 33 (2011).
    """
    steps = {name: _exact_step(point, stream(seed, "jitter", name)) for name, point in problem.points.items()}
    found = []
    try:
        with problem.put_back() as here:
            # Not at the point itself, where a kink or a jump may lie.
            for i in range(1, LINE_POINTS + 1):
                for name, point in problem.points.items():
                    point.copy_(here[name] + i * steps[name])
                found.append(problem.evaluate())
    except InputError:  # outside the domain of the function
        return torch.zeros_like(problem.y)
    table = torch.stack(found)
    by_order = [table.diff(k, dim=0).abs().median(0).values / (0.67 * math.sqrt(math.comb(2 * k, k))) for k in ORDERS]
    return torch.nan_to_num(torch.stack(by_order).amin(0), nan=0.0, posinf=0.0)


def _exact_step(point: Tensor, generator: torch.Generator) -> Tensor:
    """A step up or down for each number, by a power of two, so that adding a multiple of it is exact."""
    _, exponent = torch.frexp(point)
    sign = torch.randint(0, 2, point.shape, generator=generator).to(point.dtype) * 2 - 1
    return torch.where(point == 0, 0.0, torch.ldexp(sign * LINE_SPACING / 2, exponent))


def _largest_change(problem: Problem, exact: Tensor, generator: torch.Generator, passes: int, eps: float) -> Tensor:
    """max over the passes of |Y′_m − Y_m| where the points are now, shape (M,)."""
    largest = torch.zeros_like(exact)
    for _ in range(passes):
        with torch.no_grad(), StochasticRounding(generator, eps):
            y = problem.evaluate()
        largest = torch.maximum(largest, torch.nan_to_num((y - exact).abs()))
    return largest
