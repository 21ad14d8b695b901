"""order=2: the derivative of the gradient by v, the gradient that arrives at the output. A backward may miss it.

G_p(v) = Σ_m v_m ∂Y_m/∂p is linear in v, so that with random w over all points ∂(Σ_p w_p·G_p)/∂v_m = Σ_p w_p·G_p(e_m). A
second backward pass gives the left side; the gradient itself gives the right side. A backward that detaches v, or reads
its numbers without a graph, gives zero on the left.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.text import distinct_digits
from nets.verification.attempt import Unavailable, attempt
from nets.verification.compare.comparison import POWER
from nets.verification.problem.pytree import as_real, largest
from nets.verification.problem.randomness import signed, stream
from nets.verification.second_order.gradient_module import SecondOrder
from nets.verification.second_order.held_constant import pull_back_with_graph

MOST_SEPARATE_COTANGENTS = 256
"""Up to this many outputs, the derivative by every v_m is checked; beyond, along random directions of v."""

COTANGENT_DIRECTIONS = 8
"""The number of these directions."""

NOISE = 1e-12
"""A gradient below this part of the largest output is rounding noise."""


def check_incoming(second: SecondOrder) -> list[Check]:
    """A failed check where the derivative of the gradient by the incoming gradient is wrong; none where it is right."""
    sides = attempt(lambda: _both_sides(second))
    if isinstance(sides, Unavailable):
        return [_failed(Reason.NOT_DIFFERENTIABLE_BY_COTANGENT.because(error=sides.why))]
    found, expected = (side.detach() for side in sides.value)
    off = (found - expected).abs()
    # If the gradient is zero, both sides are rounding noise.
    tolerance = max(POWER * largest(expected), NOISE * largest(second.first.y))
    if torch.isfinite(off).all() and largest(off) <= tolerance:
        return []
    row = int(off.argmax())
    gives, right = distinct_digits(float(found[row]), float(expected[row]))
    every = len(found) == len(second.first.y)
    where = f"v at {second.first.outputs.name(row)}" if every else "v in a random direction"
    why = "; the backward detaches v or reads it without a graph" if not found.any() else ""
    return [_failed(Reason.WRONG_BY_COTANGENT.because(where=where, gives=gives, right=right, why=why))]


def _failed(reason: Finding) -> Check:
    return Check.without_entry("v", Method.REVERSE_MODE, Method.ITSELF, Verdict.FAIL, reason)


def _both_sides(second: SecondOrder) -> tuple[Tensor, Tensor]:
    """∂(Σ_p w_p·G_p)/∂v along each direction of v, by a second backward pass and by the gradient itself; shape (R,)
    each."""
    sides = list[tuple[Tensor, Tensor]]()
    generator = stream(second.seed, "weights of the gradients")
    weights = {name: signed(point.numel(), generator).to(point) for name, point in second.points.items()}
    size = len(second.first.y)
    random_directions = signed(COTANGENT_DIRECTIONS * size, stream(second.seed, "directions of v")).view(
        COTANGENT_DIRECTIONS, size
    )
    rows = torch.eye(size) if size <= MOST_SEPARATE_COTANGENTS else random_directions

    def pullback(y: Tensor, v: Tensor, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
        def weighted_sum(incoming: Tensor) -> Tensor:
            gradients = pull_back_with_graph(y, incoming, points)
            terms = [as_real(g).reshape(-1).to(v.dtype) @ weights[name].to(v.dtype) for name, g in gradients.items()]
            return torch.stack(terms).sum()

        tracked = v.detach().clone().requires_grad_()
        total = weighted_sum(tracked)
        by_v = torch.zeros_like(v)
        if total.requires_grad:
            (by_v,) = torch.autograd.grad(total, tracked, allow_unused=True, materialize_grads=True)
        directions = rows.to(v)
        by_gradient = torch.stack([weighted_sum(direction).detach() for direction in directions])
        sides.append((directions @ by_v, by_gradient))
        return pull_back_with_graph(y, v, points)

    with second.using_pullback(pullback):
        second.evaluate()
    return sides[-1]
