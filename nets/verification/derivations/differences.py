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
from itertools import pairwise

import torch
from torch import Tensor
from torch.func import vmap

from nets.verification.derivations.autograd_modes import CHUNK, quiet
from nets.verification.derivations.kinks import BENT, kink
from nets.verification.derivations.slopes import SAFETY, Slopes, central, slopes_along
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import stream

LADDER = tuple(2.0**-k for k in range(2, 27, 3))
"""Steps, in units of the point's size and of one. Powers of two, so that p + h is exact for most p."""

WIDER = (2.0, *LADDER)
"""Steps for one entry, for which none of the ladder's may go unused: the first has no other to be held against."""

FINER = (*LADDER, *(2.0**-k for k in range(29, 45, 3)))
"""Steps for an entry on which the ladder does not settle: fine enough for sin 10⁸x, which turns within most of its steps."""

NEAR = (512.0, 64.0, 8.0, 1.0)
"""Steps for one entry, in units of one that suits D(h), where its neighbours were measured over the whole ladder."""

MOVES = 1e-2
"""The part of an output by which it changes at least where a step can be said to move it."""

SETTLED = 1e-3
"""The relative error from which on an entry is not settled."""

PROBES = 4
"""Entries on which the step is chosen."""


SHARED = 1e-5
"""The part of its largest entry by which a row may be off because of what others are off by: it hides no fault of a thousandth."""


@dataclass(frozen=True, slots=True)
class Measured:
    """∂Y/∂point by differences, shape (M, P), and how far off each entry may be, of a shape that broadcasts to it.

    `step` is that of D(h). `bent` says where the slopes to the right and to the left differ so much that there may be a kink, and
    `gap`, of shape (P,), by how much they differ in any output, if by more than noise; both are None where nobody looked.
    """

    jacobian: Tensor
    tolerance: Tensor
    step: float
    bent: Tensor | None = None
    gap: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Refined:
    """One column, ∂Y/∂p for one number p: derivative, tolerance, where f has a kink at p, the step at which it was measured, and
    `steepest`, the slope from which on f turns within the smallest step, so that no difference tells of it; each of shape (M,)."""

    derivative: Tensor
    tolerance: Tensor
    kink: Tensor
    step: Tensor
    steepest: Tensor


def measure(problem: Problem, name: str, floor: Tensor, seed: int) -> Measured:
    """Every entry of ∂Y/∂point by D(h), two evaluations each.

    Args:
        problem: the function.
        name: which of its points.
        floor: ε, the noise of each output, shape (M,).
        seed: of the entries on which the step is chosen.
    """
    point = problem.points[name].view(-1)
    generator = stream(seed, "steps", name)
    probes = torch.randperm(len(point), generator=generator)[:PROBES].tolist()
    best, step, truncation, rounding = torch.inf, LADDER[0], torch.zeros_like(floor), floor
    wider, wide = None, 0.0
    for h in steps(problem.points[name]):
        if float(floor.max()) / h > best:
            break  # noise alone is more than the error there is, and will be at every smaller step
        slopes = [slopes_along(problem, point[entry], h) for entry in probes]
        found, noise = torch.stack([slope.central for slope in slopes]), torch.stack([floor, *(s.noise for s in slopes)]).amax(0)
        if wider is not None:
            # D(rh) − D(h) = (r² − 1) h² f‴/6, with r the ratio of two rungs.
            second_order = (wider - found).abs() / (min(wide / h, 1e100) ** 2 - 1)
            error = float(torch.nan_to_num(second_order + noise / h, nan=torch.inf).max())
            if error < best:
                best, step, truncation, rounding = error, h, second_order.amax(0), noise
        wider, wide = found, h
    jacobian, gap = _sweep_batched(problem, name, step) or _sweep(problem, point, step)
    gap.abs_()
    gap.masked_fill_(gap <= 4 * SAFETY * rounding[:, None] / step, 0)
    # With the slopes D ± gap/2 to both sides, the larger has the size |D| + |gap|/2; the gap is more than BENT of that.
    bent = gap * (1 / BENT - 1 / 2) > jacobian.abs()
    # What was seen in the rows of the largest truncation error counts for others as well, up to a part of their own size.
    shared = (SHARED * jacobian.abs().amax(1).nan_to_num_(nan=torch.inf)).clamp(max=float(truncation.max()))
    tolerance = SAFETY * (rounding / step + torch.maximum(truncation, shared))
    return Measured(jacobian, tolerance[:, None], step, bent, gap.amax(0))


def measure_twice(problem: Problem, name: str, floor: Tensor, step: float) -> Measured:
    """Every entry of ∂Y/∂point by E(h), four evaluations each, with an error bar of its own for each."""
    point = problem.points[name].view(-1)
    pairs = [
        torch.stack([central(problem, point, entry, step), central(problem, point, entry, 2 * step)]) for entry in range(len(point))
    ]
    narrow, wide = torch.stack(pairs, -1)
    derivative, error = _extrapolated(narrow, wide)
    return Measured(derivative, SAFETY * (error + 1.5 * floor[:, None] / step), step)


def refine_near(problem: Problem, name: str, entry: int, floor: Tensor, step: float) -> Refined:
    """One column by E(h), at a few steps that suit one like it; over the whole ladder where these do not settle on something.

    Args:
        step: that suits D(h). For E(h) a larger one does.
    """
    rungs = _Rungs(problem, problem.points[name].view(-1), entry)
    *found, near = _over(rungs, floor, [step * ratio for ratio in NEAR])
    derivative, error, suited = found
    if bool((SAFETY * error > SETTLED * derivative.abs())[derivative.abs().argmax()]) or bool(near.any()):
        return refine(problem, name, entry, floor)
    return Refined(derivative, SAFETY * error, kink(problem, name, entry, floor), suited, rungs.steepest())


def refine(problem: Problem, name: str, entry: int, floor: Tensor) -> Refined:
    """One column by E(h), for each output at the step with the smallest error of its own."""
    point = problem.points[name].view(-1)
    units = _units_of_one(abs(float(point[entry])))
    rungs = _Rungs(problem, point, entry)
    *found, near = _over(rungs, floor, sorted({h * unit for h in WIDER for unit in units}, reverse=True))
    derivative, error, step = found
    # Where the ladder settles on something, finer steps have nothing to add but rounding that nobody sees within a kernel; unless
    # it reaches across a kink that lies beside the point.
    unsettled = SAFETY * error > SETTLED * derivative.abs()
    if bool(unsettled[derivative.abs().argmax()]) or bool(near.any()):
        unsettled |= near
        *finer, _ = _over(rungs, floor, sorted({h * unit for h in FINER for unit in units}, reverse=True))
        derivative, error, step = (torch.where(unsettled, new, old) for new, old in zip(finer, found, strict=True))
    return Refined(derivative, SAFETY * error, kink(problem, name, entry, floor), step, rungs.steepest())


class _Rungs(dict[float, tuple[Slopes, Slopes]]):
    """h → the slopes at h and at 2h along one entry of a point, each measured when it is first asked for."""

    def __init__(self, problem: Problem, point: Tensor, entry: int) -> None:
        super().__init__()
        self._problem, self._moved = problem, point[entry]

    def __missing__(self, h: float) -> tuple[Slopes, Slopes]:
        self[h] = slopes_along(self._problem, self._moved, h), slopes_along(self._problem, self._moved, 2 * h)
        return self[h]

    def steepest(self) -> Tensor:
        """The slope at which f would go through an eighth of its whole range, as the steps have seen it, within the smallest step;
        infinite where that range is a small part of f itself, and may be rounding. Shape (M,)."""
        slopes = [(h, narrow) for h, (narrow, _) in self.items()]
        reach = torch.stack([(s.central.abs() + s.gap.abs() / 2) * h for h, s in slopes]).nan_to_num(nan=0.0, posinf=0.0).amax(0)
        here = abs(float(self._moved))
        least = max(min(_units_of_one(here)) * FINER[-1], math.ulp(here))
        return torch.where(reach > MOVES * self._problem.y.abs(), reach / (8 * least), torch.inf)


def _units_of_one(here: float) -> tuple[float, ...]:
    """The units of the steps along one number: one, and its own size, since a kink may lie as near to it as to zero."""
    return (1.0,) if here == 0 or 1 / 8 < here < 8 else (1.0, here)


def _over(rungs: _Rungs, floor: Tensor, ladder: list[float]) -> tuple[Tensor, ...]:
    """E(h), its error and h, for each output at the step with the smallest error; and whether there seems to be a kink or a jump
    within the steps, since the slopes to the two sides are as far apart, or farther, at a smaller step than at the one before."""
    pairs = [rungs[h] for h in ladder]
    found = [_extrapolated(narrow.central, wide.central) for narrow, wide in pairs]
    derivatives = torch.stack([derivative for derivative, _ in found])
    noise = torch.stack([1.5 * torch.maximum(floor, wide.noise) / h for h, (_, wide) in zip(ladder, pairs, strict=True)])
    errors = torch.maximum(torch.stack([error for _, error in found])[1:], _unsettled(derivatives, ladder))
    errors = (torch.maximum(errors, _ahead(derivatives[1:], noise[1:], ladder[1:])) + noise[1:]).nan_to_num(nan=torch.inf)
    steps, gaps = torch.tensor(ladder, dtype=floor.dtype), torch.stack([narrow.gap.abs() for narrow, _ in pairs])
    clear = gaps > 4 * SAFETY * floor / steps[:, None]
    # The gap is the same at every step across a kink, and the larger the smaller the step across a jump; of a smooth function it is
    # proportional to the step.
    proportional = (steps[:-1] / steps[1:]).log2()[:, None]
    level = clear[1:] & clear[:-1] & ((gaps[1:] / gaps[:-1]).log2() > -(proportional / 2).clamp(max=1))
    near = level.any(0)
    # Steps that reach across a kink say nothing of the slope at the point, as long as others do not reach it.
    within = (level | torch.cat([level[1:], torch.zeros_like(level[:1])])) & ~level.all(0)
    error, choice = _consistent(derivatives[1:], errors.masked_fill(within, torch.inf)).min(0)
    return derivatives[1:].gather(0, choice[None])[0], error, steps[1:][choice], near


def _unsettled(derivatives: Tensor, ladder: list[float]) -> Tensor:
    """How far each E(h) but the first may still move, from how far it has moved since the last step, and with what order.

    Where E is off by C hᵖ, it has moved by (rᵖ − 1) C hᵖ from a step r times as large. For a smooth f, p = 4; the order is read off
    the last two moves, and is taken to be 1 at least and 4 at most.
    """
    moves = (derivatives[1:] - derivatives[:-1]).abs()
    ratios = torch.tensor([wide / narrow for wide, narrow in pairwise(ladder)], dtype=moves.dtype)[:, None]
    order = torch.ones_like(moves)
    order[1:] = ((moves[:-1] / moves[1:]).log2() / ratios[1:].log2()).nan_to_num(nan=1.0).clamp(1.0, 4.0)
    return moves / (ratios**order - 1)


def _ahead(derivatives: Tensor, noise: Tensor, ladder: list[float]) -> Tensor:
    """How far each E(h) is from that of the next step of half its size or less, beyond what noise explains there: a kink between
    the two moves the wider."""
    ahead = torch.zeros_like(derivatives)
    for wide, h in enumerate(ladder):
        narrow = next((n for n, step in enumerate(ladder) if step <= h / 2), None)
        if narrow is not None:
            ahead[wide] = ((derivatives[wide] - derivatives[narrow]).abs() - noise[narrow]).clamp(min=0.0)
    return ahead


def _consistent(derivatives: Tensor, errors: Tensor) -> Tensor:
    """The errors, infinite for a step of which a smaller one says something else: f turns within it. Shape (steps, M)."""
    found = errors.clone()
    for wide in range(len(errors) - 1):
        apart = (derivatives[wide] - derivatives[wide + 1 :]).abs() > SAFETY * (errors[wide] + errors[wide + 1 :])
        found[wide] = found[wide].masked_fill(apart.any(0), torch.inf)
    return found


def steps(point: Tensor) -> list[float]:
    """The ladder in units of one and of the point's own size, largest first."""
    return sorted({h * unit for h in LADDER for unit in units(point)}, reverse=True)


def units(point: Tensor) -> tuple[float, ...]:
    """One, and where that is far from it, the size of the point's numbers as a power of two."""
    largest = float(point.abs().max())
    # Of numbers like 1e200 the squares are none.
    size = largest * float((point / largest).square().mean().sqrt()) if largest > 0 else 0.0
    far = size > 0 and not 1 / 8 < size < 8
    return (1.0, 2.0 ** round(math.log2(size))) if far else (1.0,)


def _sweep(problem: Problem, point: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """D(h) and the difference of the slopes along every entry, each of shape (M, P)."""
    found = [slopes_along(problem, entry, step) for entry in point]
    return torch.stack([slope.central for slope in found], 1), torch.stack([slope.gap for slope in found], 1)


def _sweep_batched(problem: Problem, name: str, step: float) -> tuple[Tensor, Tensor] | None:
    """The same, many entries at a time under vmap; None where the module cannot be batched."""
    point = problem.points[name]
    count = point.numel()
    width = max(1, min(count, CHUNK // count))
    if problem.random or width == 1 or not problem.reached(name):
        return None
    # Copies of the point, of which each has one entry moved, there and back.
    copies = point.reshape(1, -1).repeat(width, 1)
    upper, lower = point.reshape(-1) + step, point.reshape(-1) - step
    above, below = point.new_empty(2, count, len(problem.y))
    try:
        with quiet(), torch.no_grad():
            function = vmap(lambda moved: problem.along(name, moved))
            for start in range(0, count, width):
                found = slice(start, min(start + width, count))
                rows = copies[: found.stop - start]
                # Copy k has entry start + k moved, which is in the k-th place of a diagonal.
                moved = copies.view(-1)[start :: count + 1][: len(rows)]
                for side, values in ((upper, above), (lower, below)):
                    moved.copy_(side[found])
                    values[found] = function(rows.view(-1, *point.shape))
                moved.copy_(point.reshape(-1)[found])
    except Exception:  # whatever it is that cannot be batched
        return None
    central = (above - below).div_((upper - lower)[:, None])
    gap = above.sub_(problem.y).sub_(problem.y - below).div_(step)
    return central.mT.contiguous(), gap.mT.contiguous()


def _extrapolated(narrow: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
    """E and the size of the truncation error left in it."""
    derivative = (4 * narrow - wide) / 3
    second_order = (narrow - wide).abs() / 3
    scale = derivative.abs().max().clamp(min=torch.finfo(derivative.dtype).tiny)
    return derivative, second_order * (second_order / scale).clamp(max=1.0)
