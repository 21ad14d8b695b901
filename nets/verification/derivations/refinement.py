"""One column of a Jacobian by differences at many steps: for each output E(h) at the step with the smallest error."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from nets.verification.derivations.differences import LADDER, extrapolated
from nets.verification.derivations.kinks import kink
from nets.verification.derivations.slopes import DIFFERENCE_SAFETY, Slopes
from nets.verification.derivations.variable import Variable

WIDER_LADDER = (2.0, *LADDER)
"""Steps for one entry. One more is at the front, since the widest step is only compared with the next."""

FINER_LADDER = (*LADDER, *(2.0**-k for k in range(29, 45, 3)))
"""Steps for an entry that has a large error at every step of the ladder: fine enough for sin 10⁸x, which has several
periods within most steps of the ladder."""

NEAR_STEPS = (512.0, 64.0, 8.0, 1.0)
"""Steps for one entry after another entry was measured at every step of the ladder; in units of a step that suits
D(h)."""

MOVED_PART = 1e-2
"""An output has moved in a step if it has changed by at least this part of itself."""

SETTLED = 1e-3
"""An entry is settled if its relative error is smaller."""


@dataclass(frozen=True, slots=True)
class Refined:
    """One column, ∂Y/∂p for one number p; each of shape (M,).

    Attributes:
        derivative: E(h).
        tolerance: the largest error of the derivative.
        kink: whether f has no derivative at p.
        step: the step h of E(h).
        steepest: the slope from which on no difference can measure it: f would turn within the smallest step.
    """

    derivative: Tensor
    tolerance: Tensor
    kink: Tensor
    step: Tensor
    steepest: Tensor


def refine(variable: Variable, entry: int) -> Refined:
    """One column by E(h), for each output at the step with the smallest error of its own."""
    rungs, floor = _Rungs(variable, entry), variable.floor
    units = _units_of_one(variable.size(entry))
    *found, near = _best_of(rungs, floor, sorted({h * unit for h in WIDER_LADDER for unit in units}, reverse=True))
    derivative, error, step = found
    # Finer steps are used only where the error is large or a kink is near, since they add rounding within a kernel,
    # which the error does not contain.
    unsettled = DIFFERENCE_SAFETY * error > SETTLED * derivative.abs()
    if bool(unsettled[derivative.abs().argmax()]) or bool(near.any()):
        unsettled |= near
        *finer, _ = _best_of(rungs, floor, sorted({h * unit for h in FINER_LADDER for unit in units}, reverse=True))
        derivative, error, step = (torch.where(unsettled, new, old) for new, old in zip(finer, found, strict=True))
    return Refined(derivative, DIFFERENCE_SAFETY * error, kink(variable, entry), step, rungs.steepest())


def refine_near(variable: Variable, entry: int, step: float) -> Refined:
    """One column by E(h) at a few steps near a given one; at every step of the ladder if the error is large.

    Args:
        step: a step that suits D(h); E(h) needs a larger one.
    """
    rungs = _Rungs(variable, entry)
    *found, near = _best_of(rungs, variable.floor, [step * ratio for ratio in NEAR_STEPS])
    derivative, error, suited = found
    if bool((DIFFERENCE_SAFETY * error > SETTLED * derivative.abs())[derivative.abs().argmax()]) or bool(near.any()):
        return refine(variable, entry)
    return Refined(derivative, DIFFERENCE_SAFETY * error, kink(variable, entry), suited, rungs.steepest())


class _Rungs(dict[float, tuple[Slopes, Slopes]]):
    """h → the slopes at h and at 2h along one entry of a point, each measured when it is first asked for."""

    def __init__(self, variable: Variable, entry: int) -> None:
        super().__init__()
        self._variable, self._entry = variable, entry

    def __missing__(self, h: float) -> tuple[Slopes, Slopes]:
        self[h] = self._variable.slopes(self._entry, h), self._variable.slopes(self._entry, 2 * h)
        return self[h]

    def steepest(self) -> Tensor:
        """The slope at which f would change by an eighth of its range within the smallest step, shape (M,).

        The range is the largest change of f at any step. Where it is a small part of f, it may be rounding, and the
        result is infinite.
        """
        slopes = [(h, narrow) for h, (narrow, _) in self.items()]
        reach = (
            torch.stack([(s.central.abs() + s.gap.abs() / 2) * h for h, s in slopes])
            .nan_to_num(nan=0.0, posinf=0.0)
            .amax(0)
        )
        here = self._variable.size(self._entry)
        least = max(min(_units_of_one(here)) * FINER_LADDER[-1], math.ulp(here))
        return torch.where(reach > MOVED_PART * self._variable.problem.y.abs(), reach / (8 * least), torch.inf)


def _units_of_one(size: float) -> tuple[float, ...]:
    """The units of the steps along one number: 1, and the number's own size unless it is near 1, since a kink may be at
    zero."""
    return (1.0,) if size == 0 or 1 / 8 < size < 8 else (1.0, size)


def _best_of(rungs: _Rungs, floor: Tensor, ladder: list[float]) -> tuple[Tensor, ...]:
    """E(h), its error and h, for each output at the step with the smallest error; and whether a kink or jump is within
    the steps.

    It is where the slopes to the two sides do not approach each other from one step to the next smaller one.
    """
    pairs = [rungs[h] for h in ladder]
    found = [extrapolated(narrow.central, wide.central) for narrow, wide in pairs]
    derivatives = torch.stack([derivative for derivative, _ in found])
    noise = torch.stack(
        [1.5 * torch.maximum(floor, wide.noise) / h for h, (_, wide) in zip(ladder, pairs, strict=True)]
    )
    errors = torch.maximum(torch.stack([error for _, error in found])[1:], _still_moving(derivatives, ladder))
    ahead = _off_a_smaller_step(derivatives[1:], noise[1:], ladder[1:])
    errors = (torch.maximum(errors, ahead) + noise[1:]).nan_to_num(nan=torch.inf)
    steps, gaps = torch.tensor(ladder, dtype=floor.dtype), torch.stack([narrow.gap.abs() for narrow, _ in pairs])
    clear = gaps > 4 * DIFFERENCE_SAFETY * floor / steps[:, None]
    # The gap between the slopes to the two sides is the same at every step across a kink, grows as the step shrinks
    # across a jump, and is proportional to the step for a smooth function.
    proportional = (steps[:-1] / steps[1:]).log2()[:, None]
    level = clear[1:] & clear[:-1] & ((gaps[1:] / gaps[:-1]).log2() > -(proportional / 2).clamp(max=1))
    near = level.any(0)
    # Steps across a kink do not measure the slope at the point. They are left out if other steps do not cross it.
    across = (level | torch.cat([level[1:], torch.zeros_like(level[:1])])) & ~level.all(0)
    error, choice = _consistent(derivatives[1:], errors.masked_fill(across, torch.inf)).min(0)
    return derivatives[1:].gather(0, choice[None])[0], error, steps[1:][choice], near


def _still_moving(derivatives: Tensor, ladder: list[float]) -> Tensor:
    """The error of each E(h) but the first, from its difference to E at the next larger step.

    If the error of E(h) is C hᵖ, this difference is (rᵖ − 1) C hᵖ, with r the ratio of the two steps. For a smooth f,
    p = 4. The order p is computed from the last two differences, and limited to 1 ≤ p ≤ 4.
    """
    moves = (derivatives[1:] - derivatives[:-1]).abs()
    ratios = torch.tensor([wide / narrow for wide, narrow in pairwise(ladder)], dtype=moves.dtype)[:, None]
    order = torch.ones_like(moves)
    order[1:] = ((moves[:-1] / moves[1:]).log2() / ratios[1:].log2()).nan_to_num(nan=1.0).clamp(1.0, 4.0)
    return moves / (ratios**order - 1)


def _off_a_smaller_step(derivatives: Tensor, noise: Tensor, ladder: list[float]) -> Tensor:
    """The difference between each E(h) and E at the largest step of at most h/2, less the noise of the latter.

    If a kink lies between the two steps, E(h) is wrong by about this difference.
    """
    ahead = torch.zeros_like(derivatives)
    for wide, h in enumerate(ladder):
        narrow = next((n for n, step in enumerate(ladder) if step <= h / 2), None)
        if narrow is not None:
            ahead[wide] = ((derivatives[wide] - derivatives[narrow]).abs() - noise[narrow]).clamp(min=0.0)
    return ahead


def _consistent(derivatives: Tensor, errors: Tensor) -> Tensor:
    """The errors, shape (steps, M); infinite for a step at which E differs from that at a smaller step by more than
    their errors, since f turns within it."""
    found = errors.clone()
    for wide in range(len(errors) - 1):
        apart = (derivatives[wide] - derivatives[wide + 1 :]).abs() > DIFFERENCE_SAFETY * (
            errors[wide] + errors[wide + 1 :]
        )
        found[wide] = found[wide].masked_fill(apart.any(0), torch.inf)
    return found
