"""Central differences with their own error bars: the derivation that needs nothing but the forward pass.

    D(h) = (f(p + h) − f(p − h)) / 2h = f′ + h²/6 f‴ + O(h⁴)            an output with noise ε adds at most ε / h
    T(h) = (D(h) − D(2h)) / 3                                            measures the h² term of D(h)
    E(h) = (4 D(h) − D(2h)) / 3 = f′ + O(h⁴)                             is off by about T · T/|f′|, and 3/2 ε / h

Every entry is measured once, at a step that suits the point. An entry that then disagrees with what it is compared with is
measured again over a ladder of steps; what is left of the disagreement is not the difference's own error.
Source: Fornberg, Mathematics of Computation 51 (1988); Press et al., "Numerical Recipes", section 5.7.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from nets.verification.oracles import CHUNK, quiet
from nets.verification.problem import Problem

LADDER = tuple(2.0**-k for k in range(2, 27, 3))
"""Steps, in units of the point's size and of one. Powers of two, so that p + h is exact for most p."""

SAFETY = 8.0
"""Both error terms are estimates of a size, not bounds: a derivation is called wrong when it is off by this many of them."""

PROBES = 4
"""Entries on which the step is chosen."""


@dataclass(frozen=True, slots=True)
class Measured:
    """∂Y/∂point by differences, shape (M, P), and how far off each entry may be, of a shape that broadcasts to it."""

    jacobian: Tensor
    tolerance: Tensor


@dataclass(frozen=True, slots=True)
class Refined:
    """One column, ∂Y/∂p for one number p: derivative, tolerance, and where f has a kink at p; each of shape (M,)."""

    derivative: Tensor
    tolerance: Tensor
    kink: Tensor


def measure(problem: Problem, name: str, floor: Tensor, seed: int) -> Measured:
    """Every entry of ∂Y/∂point by D(h), two evaluations each.

    Args:
        problem: the function.
        name: which of its points.
        floor: ε, the noise of each output, shape (M,).
        seed: of the entries on which the step is chosen.
    """
    point = problem.points[name].view(-1)
    generator = torch.Generator().manual_seed(seed)
    probes = torch.randperm(len(point), generator=generator)[:PROBES].tolist()
    best, step, truncation = torch.inf, LADDER[0], 0.0
    wider, wide = None, 0.0
    for h in steps(problem.points[name]):
        found = torch.stack([central(problem, point, entry, h) for entry in probes])
        if wider is not None:
            # D(rh) − D(h) = (r² − 1) h² f‴/6, with r the ratio of two rungs.
            second_order = (wider - found).abs() / ((wide / h) ** 2 - 1)
            error = float(torch.nan_to_num(second_order + floor / h, nan=torch.inf).max())
            if error < best:
                best, step, truncation = error, h, float(second_order.max())
        wider, wide = found, h
    jacobian = _sweep_batched(problem, name, step)
    if jacobian is None:
        jacobian = torch.stack([central(problem, point, entry, step) for entry in range(len(point))], 1)
    return Measured(jacobian, SAFETY * (floor[:, None] / step + truncation))


def measure_twice(problem: Problem, name: str, floor: Tensor, step: float) -> Measured:
    """Every entry of ∂Y/∂point by E(h), four evaluations each, with an error bar of its own for each."""
    point = problem.points[name].view(-1)
    pairs = [
        torch.stack([central(problem, point, entry, step), central(problem, point, entry, 2 * step)]) for entry in range(len(point))
    ]
    narrow, wide = torch.stack(pairs, -1)
    derivative, error = _extrapolated(narrow, wide)
    return Measured(derivative, SAFETY * (error + 1.5 * floor[:, None] / step))


def refine(problem: Problem, name: str, entry: int, floor: Tensor) -> Refined:
    """One column by E(h), for each output at the step with the smallest error of its own."""
    point = problem.points[name].view(-1)
    here = abs(float(point[entry]))
    units = (1.0,) if here < 1e-12 or 1 / 8 < here < 8 else (1.0, here)
    ladder = sorted({h * unit for h in LADDER for unit in units}, reverse=True)
    derivatives, errors = list[Tensor](), list[Tensor]()
    for rung, h in enumerate(ladder):
        derivative, error = _extrapolated(central(problem, point, entry, h), central(problem, point, entry, 2 * h))
        if rung:
            # Where T is small by accident, the h⁴ term shows in how far E moved since the last rung.
            moved = (derivative - derivatives[-1]).abs() / ((ladder[rung - 1] / h) ** 4 - 1)
            errors.append(torch.nan_to_num(torch.maximum(error, moved) + 1.5 * floor / h, nan=torch.inf))
        derivatives.append(derivative)
    del derivatives[0]
    error, choice = torch.stack(errors).min(0)
    derivative = torch.stack(derivatives).gather(0, choice[None])[0]
    return Refined(derivative, SAFETY * error, _kink(problem, point, entry, floor, max(here, 1.0) * 2.0**-20))


def is_constant(problem: Problem, name: str, floor: Tensor, seed: int) -> bool:
    """Whether Y stays the same, up to its noise, when the point moves far (an eighth of a unit) in random directions.

    A gradient too small to be measured still moves Y then; one that is truly zero does not.
    """
    generator = torch.Generator().manual_seed(seed)
    point = problem.points[name]
    here = point.clone()
    try:
        for _ in range(4):
            sign = torch.randint(0, 2, point.shape, generator=generator).to(point.dtype) * 2 - 1
            point.copy_(here + sign / 8)
            if ((problem.evaluate() - problem.y).abs() > SAFETY * floor).any():
                return False
    finally:
        point.copy_(here)
    return True


def central(problem: Problem, point: Tensor, entry: int, step: float) -> Tensor:
    """D(h) of every output along one entry of the flattened point, shape (M,). The point is put back."""
    here = point[entry].clone()
    upper, lower = here + step, here - step
    try:
        point[entry] = upper
        above = problem.evaluate()
        point[entry] = lower
        below = problem.evaluate()
    except (RuntimeError, ValueError):
        return torch.full_like(problem.y, torch.nan)  # the step has left the domain of f
    finally:
        point[entry] = here
    return (above - below) / (upper - lower)


def steps(point: Tensor) -> list[float]:
    """The ladder in units of one and of the point's own size, largest first."""
    size = float(point.square().mean().sqrt())
    far = size > 0 and not 1 / 8 < size < 8
    units = {1.0, 2.0 ** round(math.log2(size))} if far else {1.0}
    return sorted({h * unit for h in LADDER for unit in units}, reverse=True)


def _sweep_batched(problem: Problem, name: str, step: float) -> Tensor | None:
    """D(h) along every entry, many at a time under vmap; None where the module cannot be batched."""
    point = problem.points[name]
    count = point.numel()
    width = max(1, min(count, CHUNK // count))
    if problem.random or width == 1:
        return None
    # Copies of the point, of which each has one entry moved, there and back.
    copies = point.reshape(1, -1).repeat(width, 1)
    columns = []
    try:
        with quiet(), torch.no_grad():
            function = vmap(lambda moved: problem.along(name, moved))
            for start in range(0, count, width):
                entries = torch.arange(start, min(start + width, count))
                rows = torch.arange(len(entries))
                here = point.reshape(-1)[entries]
                upper, lower = here + step, here - step
                copies[rows, entries] = upper
                above = function(copies[: len(rows)].reshape(-1, *point.shape))
                copies[rows, entries] = lower
                below = function(copies[: len(rows)].reshape(-1, *point.shape))
                copies[rows, entries] = here
                columns.append((above - below) / (upper - lower)[:, None])
    except Exception:  # whatever it is that cannot be batched
        return None
    return torch.cat(columns).mT.contiguous()


def _extrapolated(narrow: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
    """E and the size of the truncation error left in it."""
    derivative = (4 * narrow - wide) / 3
    second_order = (narrow - wide).abs() / 3
    scale = derivative.abs().max().clamp(min=torch.finfo(derivative.dtype).tiny)
    return derivative, second_order * (second_order / scale).clamp(max=1.0)


def _kink(problem: Problem, point: Tensor, entry: int, floor: Tensor, step: float) -> Tensor:
    """Where the slopes to the right and to the left stay apart as the step shrinks; for a smooth f they differ by h f″."""
    here = point[entry].clone()
    gaps = []
    try:
        for h in (8 * step, step):
            point[entry] = here + h
            right = (problem.evaluate() - problem.y) / h
            point[entry] = here - h
            left = (problem.y - problem.evaluate()) / h
            gaps.append((right - left).abs())
    except (RuntimeError, ValueError):
        return torch.zeros_like(problem.y, dtype=torch.bool)
    finally:
        point[entry] = here
    return (gaps[1] > gaps[0] / 2) & (gaps[1] > 4 * SAFETY * floor / step)
