"""How much of each row of a Jacobian is rounding noise.

Rows of one Jacobian may differ in size by many powers of ten, and an output that goes through a normalization is noisier than one
that does not. So each row ∂Y_m/∂point has a noise of its own, measured on that row, or, where there are too many rows, on rows of
the same output tensor that are next to it in size.
"""

import contextlib
from collections.abc import Mapping

import torch
from torch import Tensor

from nets.verification.derivations.reverse_mode import batched_reverse, reverse_mode
from nets.verification.noise.rounding import ROUNDING_SAFETY, StochasticRounding, Unmoved, beside
from nets.verification.problem.graph import pull_back, rows_of
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

ROWS = 64
"""Rows that are measured where the backward pass cannot be batched, at the least LEAST of them in each output tensor."""

MANY = 4096
"""Rows beyond which some are measured even where the backward pass can be batched: a batch may be a loop over its rows."""

LEAST = 4

PASSES = 8
"""Random runs for each row: a row may have a single entry, in which two rounding errors may cancel."""

ENOUGH = 2**20
"""Numbers of a Jacobian, over all runs, from which on there are fewer runs, but two at least."""

COARSE = 1e-3
"""The part of the largest entry from which on noise is looked at twice."""

SHARED = 1e-6 / ROUNDING_SAFETY
"""The part of its size up to which a row is given the noise of others: it does not hide a fault of a millionth of the row."""


def gradient_floor(problem: Problem, jacobians: Mapping[str, Tensor], seed: int, eps: float = 0.0) -> dict[str, Tensor]:
    """The noise of each row of ∂Y/∂point, for each point: max over the runs and over p of |J′_mp − J_mp|. Shape (M, 1).

    It is at least two units in the last place of the row's largest entry, which is what two operations more would bring. Runs in
    which errors happen to cancel are made up for by what is typical: the median over the rows of the same output tensor, up to
    SHARED of the row's own size. A row that is smaller than that median is zero up to rounding, and has the median.

    Args:
        problem: the function.
        jacobians: ∂Y/∂point of shape (M, P), by reverse mode.
        seed: of the rounding.
        eps: twice the unit roundoff of a coarser precision, to have the noise that it would bring.
    """
    sizes = {name: _row_max(jacobian) for name, jacobian in jacobians.items()}
    generator = stream(seed, "rounding of the gradient")
    own = _all_rows(problem, jacobians, generator, eps) or _some_rows(problem, jacobians, generator, eps)
    if any(bool((own[name] > COARSE * size.max()).any()) for name, size in sizes.items()) and not _faithful(problem):
        own = {name: torch.zeros_like(noise) for name, noise in own.items()}
    elif any(not noise.any() for noise in own.values()):
        # At the point itself numbers may be whole, or equal and cancel, so that nothing is rounded.
        with contextlib.suppress(Exception), beside(problem, seed):  # beyond the edge of the domain a backward may raise
            near = _some_rows(problem, reverse_mode(problem), generator, eps)
            own = {name: torch.maximum(noise, near[name]) for name, noise in own.items()}
    floor = {}
    for name, jacobian in jacobians.items():
        unit = max(torch.finfo(jacobian.dtype).eps, eps)
        numbers = torch.finfo(jacobian.dtype)
        # What underflows is off by up to the smallest number there is.
        noise = torch.maximum(own[name], 2 * unit * sizes[name]).clamp(min=numbers.smallest_normal * numbers.eps)
        for rows in problem.outputs.rows:
            noise[rows] = torch.maximum(noise[rows], _typical(noise[rows], sizes[name][rows], max(SHARED, 4 * unit)))
        floor[name] = noise[:, None]
    return floor


def _faithful(problem: Problem) -> bool:
    """Whether the gradient is the same where operations pass through a dispatch mode, beneath which autograd records nothing: a
    kernel of a user's that autograd looks into otherwise is not differentiated there."""
    with Unmoved():
        y, leaves = problem.record()
        found = pull_back(y, problem.cotangent, leaves)
    return all(largest(found[name] - g) <= COARSE * largest(g) for name, g in problem.gradient.items())


def _row_max(jacobian: Tensor) -> Tensor:
    """max_p |J_mp|, shape (M,)."""
    return jacobian.abs().amax(1) if jacobian.numel() else jacobian.new_zeros(len(jacobian))


def _typical(noise: Tensor, size: Tensor, shared: float) -> Tensor:
    """The noise that each row has at least, seeing that of the others. Shape (M,)."""
    if not bool((size > 0).any()):
        return noise
    median = noise[size > 0].median()
    return torch.where(size > median, (shared * size).clamp(max=float(median)), median)


def _all_rows(
    problem: Problem, jacobians: Mapping[str, Tensor], generator: torch.Generator, eps: float
) -> dict[str, Tensor] | None:
    """The largest change of each row, by backward passes for all rows at once; None where they cannot be batched or are many."""
    plain = batched_reverse(problem) if len(problem.y) <= MANY else None
    if plain is None:
        return None
    numbers = sum(jacobian.numel() for jacobian in jacobians.values())
    own = {name: jacobian.new_zeros(len(jacobian)) for name, jacobian in jacobians.items()}
    for _ in range(max(2, min(PASSES, ENOUGH // max(1, numbers)))):
        with StochasticRounding(generator, eps):
            noisy = batched_reverse(problem)
        if noisy is None:
            return None
        for name, most in own.items():
            # Held against the batched pass, so that what batching itself changes is no noise.
            change = torch.nan_to_num(noisy[name] - plain[name])
            own[name] = torch.maximum(most, _row_max(change))
    return own


def _some_rows(problem: Problem, jacobians: Mapping[str, Tensor], generator: torch.Generator, eps: float) -> dict[str, Tensor]:
    """The largest change of each row, by one backward pass for each of some rows; a row in between has the larger of the two that
    are next to it in size."""
    sizes = {name: _row_max(jacobian) for name, jacobian in jacobians.items()}
    joint = sum(size / size.max().clamp(min=torch.finfo(size.dtype).tiny) for size in sizes.values() if size.numel())
    assert isinstance(joint, Tensor)
    chosen = [_spread(joint[rows], max(LEAST, ROWS // len(problem.outputs.rows))) for rows in problem.outputs.rows]
    measured = torch.cat([at + rows.start for (_, at), rows in zip(chosen, problem.outputs.rows, strict=True)]).tolist()
    own = {name: jacobian.new_zeros(len(jacobian)) for name, jacobian in jacobians.items()}
    for _ in range(2):
        with StochasticRounding(generator, eps):
            for row, gradients in zip(measured, rows_of(problem.record, measured), strict=True):
                for name, gradient in gradients.items():
                    if gradient.numel():
                        change = torch.nan_to_num((gradient.reshape(-1) - jacobians[name][row]).abs().max())
                        own[name][row] = torch.maximum(own[name][row], change)
    for (order, at), rows in zip(chosen, problem.outputs.rows, strict=True):
        for noise in own.values():
            noise[rows] = _between(noise[rows], order, at)
    return own


def _spread(size: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The rows in order of size, and so many of them at most, evenly spread over that order, the first and the last included."""
    order = size.argsort()
    places = torch.linspace(0, len(order) - 1, min(most, len(order)), dtype=torch.float64).round().long().unique()
    return order, order[places]


def _between(noise: Tensor, order: Tensor, measured: Tensor) -> Tensor:
    """The noise of every row from that of the measured ones, which are some of `order` in that order."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    above = torch.searchsorted(rank[measured], rank).clamp(max=len(measured) - 1)
    below = torch.where(rank[measured][above] == rank, above, (above - 1).clamp(min=0))
    return torch.maximum(noise[measured][above], noise[measured][below])
