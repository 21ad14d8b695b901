"""At order=2: the gradient as a function of the gradient that reaches the output, which a backward may forget to differentiate by.

G_p(v) = Σ_m v_m ∂Y_m/∂p is linear in v, so that with a random w over all points ∂(Σ_p w_p·G_p)/∂v_m = Σ_p w_p·G_p(e_m). The left
side is what a second backward pass gives; the right side is the gradient itself. A backward that detaches v, or reads its numbers
without a graph, gives zero on the left.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.text import one_line, told_apart
from nets.verification.compare.comparison import POWER
from nets.verification.problem.pytree import as_real, largest
from nets.verification.problem.randomness import signed, stream
from nets.verification.second_order.gradient_module import SecondOrder
from nets.verification.second_order.held_constant import pulled_back

ROWS = 256
"""Outputs up to which every v_m is looked at; beyond, eight random directions of v."""

NOISE = 1e-12
"""The part of the largest output below which a gradient is taken for rounding noise."""


def check_incoming(second: SecondOrder) -> list[Check]:
    """A failed check where the gradient is differentiated wrongly by the gradient that reaches the output; none if it is right."""
    try:
        found, expected = (side.detach() for side in _both_sides(second))
    except Exception as error:  # a backward of the user's may raise whatever it likes
        raised = f"{type(error).__name__}: {one_line(error)}"
        return [_failed(Reason.NOT_DIFFERENTIABLE_BY_COTANGENT.because(error=raised))]
    off = (found - expected).abs()
    # Where the gradient is zero, both sides are rounding noise.
    bar = max(POWER * largest(expected), NOISE * largest(second.first.y))
    if not torch.isfinite(off).all() or largest(off) <= bar:
        return []
    row = int(off.argmax())
    gives, ought = told_apart(float(found[row]), float(expected[row]))
    where = f"v at {second.first.outputs.name(row)}" if len(found) == len(second.first.y) else "v in a random direction"
    why = "; the backward detaches v or reads it without a graph" if not found.any() else ""
    return [_failed(Reason.WRONG_BY_COTANGENT.because(where=where, gives=gives, right=ought, why=why))]


def _failed(found: Finding) -> Check:
    return Check.without_entry("v", Method.REVERSE_MODE, Method.ITSELF, Verdict.FAIL, found)


def _both_sides(second: SecondOrder) -> tuple[Tensor, Tensor]:
    """∂(Σ_p w_p·G_p)/∂v along each direction of v, by a second backward pass and by the gradient itself; shape (R,) each."""
    sides = list[tuple[Tensor, Tensor]]()
    generator = stream(second.seed, "weights of the gradients")
    weights = {name: signed(point.numel(), generator).to(point) for name, point in second.points.items()}
    size = len(second.first.y)
    rows = torch.eye(size) if size <= ROWS else signed(8 * size, stream(second.seed, "directions of v")).view(8, size)

    def walk(y: Tensor, v: Tensor, points: Mapping[str, Tensor]) -> dict[str, Tensor]:
        def weighed(incoming: Tensor) -> Tensor:
            gradients = pulled_back(y, incoming, points)
            return torch.stack(
                [as_real(g).reshape(-1).to(v.dtype) @ weights[name].to(v.dtype) for name, g in gradients.items()]
            ).sum()

        tracked = v.detach().clone().requires_grad_()
        total = weighed(tracked)
        by_v = torch.zeros_like(v)
        if total.requires_grad:
            (by_v,) = torch.autograd.grad(total, tracked, allow_unused=True, materialize_grads=True)
        directions = rows.to(v)
        sides.append((directions @ by_v, torch.stack([weighed(direction).detach() for direction in directions])))
        return pulled_back(y, v, points)

    with second.walking(walk):
        second.evaluate()
    return sides[-1]
