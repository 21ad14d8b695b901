"""How much of each row of a Jacobian is rounding noise.

Rows of one Jacobian may differ in size by many powers of ten, and an output behind a normalization is noisier than
others. So the noise of each row ∂Y_m/∂point is measured on that row, or, where there are too many rows, on the rows of
the same output tensor that are next to it in size.
"""

import contextlib
from collections.abc import Mapping

import torch
from torch import Tensor

from nets.verification.derivations.reverse_mode import batched_reverse, reverse_mode
from nets.verification.noise.output_noise import beside
from nets.verification.noise.rounding import ROUNDING_SAFETY, StochasticRounding, WithoutRounding
from nets.verification.problem.graph import pull_back, rows_of
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.randomness import stream

MEASURED_ROWS = 64
"""The number of rows that are measured if the backward pass cannot be batched, spread over all output tensors."""

MEASURED_ROWS_PER_TENSOR = 4
"""The least number of measured rows in each output tensor."""

MOST_BATCHED_ROWS = 4096
"""Above this number of rows, only some are measured even where the backward pass can be batched: a batch may be a loop
over rows."""

ROW_PASSES = 8
"""Runs with stochastic rounding for each row: a row may have a single entry, in which two rounding errors may
cancel."""

MOST_NUMBERS = 2**20
"""The most numbers of the Jacobians in all runs together. Larger Jacobians get fewer runs, but at least two."""

SUSPICIOUS = 1e-3
"""Noise above this part of the largest entry may come from the dispatch mode itself, so that this is checked."""

SHARED_NOISE = 1e-6 / ROUNDING_SAFETY
"""The noise that a row gets from other rows is at most this part of its own size, so that a fault of a millionth of the
row is still found."""


def gradient_floor(problem: Problem, jacobians: Mapping[str, Tensor], seed: int, eps: float = 0.0) -> dict[str, Tensor]:
    """The noise of each row of ∂Y/∂point, for each point: max over the runs and over p of |J′_mp − J_mp|. Shape (M, 1).

    It is at least two units in the last place of the row's largest entry, which two more operations would bring. Errors
    may cancel in all runs of a row. So it is also at least the median over the rows of the same output tensor, up to
    SHARED_NOISE of the row's own size. A row that is smaller than that median is zero up to rounding, and has the
    median as its noise.

    Args:
        problem: the function.
        jacobians: ∂Y/∂point of shape (M, P), by reverse mode.
        seed: of the rounding.
        eps: of a coarser precision, for the noise that rows would have in it; 0 for their own.
    """
    sizes = {name: _row_max(jacobian) for name, jacobian in jacobians.items()}
    generator = stream(seed, "rounding of the gradient")
    own = _all_rows(problem, jacobians, generator, eps) or _some_rows(problem, jacobians, generator, eps)
    if any(bool((own[name] > SUSPICIOUS * size.max()).any()) for name, size in sizes.items()) and not _same_in_a_mode(
        problem
    ):
        own = {name: torch.zeros_like(noise) for name, noise in own.items()}
    elif any(not noise.any() for noise in own.values()):
        # At the point itself numbers may be whole, or equal and cancel, so that nothing is rounded.
        with contextlib.suppress(Exception), beside(problem, seed):  # outside the domain a backward may raise anything
            near = _some_rows(problem, reverse_mode(problem), generator, eps)
            own = {name: torch.maximum(noise, near[name]) for name, noise in own.items()}
    floor = {}
    for name, jacobian in jacobians.items():
        unit = max(torch.finfo(jacobian.dtype).eps, eps)
        numbers = torch.finfo(jacobian.dtype)
        # A number that underflows is off by up to the smallest number of its type.
        noise = torch.maximum(own[name], 2 * unit * sizes[name]).clamp(min=numbers.smallest_normal * numbers.eps)
        for rows in problem.outputs.rows:
            noise[rows] = torch.maximum(
                noise[rows], _typical(noise[rows], sizes[name][rows], max(SHARED_NOISE, 4 * unit))
            )
        floor[name] = noise[:, None]
    return floor


def _same_in_a_mode(problem: Problem) -> bool:
    """Whether the gradient is the same while a dispatch mode is active. Autograd records nothing beneath a mode, so a
    kernel with a derivative formula of its own may be differentiated otherwise there."""
    with WithoutRounding():
        y, leaves = problem.record()
        found = pull_back(y, problem.cotangent, leaves)
    return all(largest(found[name] - g) <= SUSPICIOUS * largest(g) for name, g in problem.gradient.items())


def _row_max(jacobian: Tensor) -> Tensor:
    """max_p |J_mp|, shape (M,)."""
    return jacobian.abs().amax(1) if jacobian.numel() else jacobian.new_zeros(len(jacobian))


def _typical(noise: Tensor, size: Tensor, shared: float) -> Tensor:
    """The least noise of each row, given the noise of the other rows. Shape (M,)."""
    if not bool((size > 0).any()):
        return noise
    median = noise[size > 0].median()
    return torch.where(size > median, (shared * size).clamp(max=float(median)), median)


def _all_rows(
    problem: Problem, jacobians: Mapping[str, Tensor], generator: torch.Generator, eps: float
) -> dict[str, Tensor] | None:
    """The largest change of each row, by backward passes for all rows at once; None where there are too many rows, or
    they cannot be batched."""
    plain = batched_reverse(problem) if len(problem.y) <= MOST_BATCHED_ROWS else None
    if plain is None:
        return None
    numbers = sum(jacobian.numel() for jacobian in jacobians.values())
    own = {name: jacobian.new_zeros(len(jacobian)) for name, jacobian in jacobians.items()}
    for _ in range(max(2, min(ROW_PASSES, MOST_NUMBERS // max(1, numbers)))):
        with StochasticRounding(generator, eps):
            noisy = batched_reverse(problem)
        if noisy is None:
            return None
        for name, most in own.items():
            # Compared with the batched pass, so that the effect of batching is not included.
            change = torch.nan_to_num(noisy[name] - plain[name])
            own[name] = torch.maximum(most, _row_max(change))
    return own


def _some_rows(
    problem: Problem, jacobians: Mapping[str, Tensor], generator: torch.Generator, eps: float
) -> dict[str, Tensor]:
    """The largest change of each row, by one backward pass for each of some rows. Any other row has the larger change
    of the two measured rows that are next to it in size."""
    sizes = {name: _row_max(jacobian) for name, jacobian in jacobians.items()}
    joint = sum(size / size.max().clamp(min=torch.finfo(size.dtype).tiny) for size in sizes.values() if size.numel())
    assert isinstance(joint, Tensor)
    chosen = [
        _spread(joint[rows], max(MEASURED_ROWS_PER_TENSOR, MEASURED_ROWS // len(problem.outputs.rows)))
        for rows in problem.outputs.rows
    ]
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
    """The rows in order of size, and at most `most` of them, evenly spread over that order from the first to the
    last."""
    order = size.argsort()
    places = torch.linspace(0, len(order) - 1, min(most, len(order)), dtype=torch.float64).round().long().unique()
    return order, order[places]


def _between(noise: Tensor, order: Tensor, measured: Tensor) -> Tensor:
    """The noise of every row, from the noise of the measured rows, a subsequence of `order`."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    above = torch.searchsorted(rank[measured], rank).clamp(max=len(measured) - 1)
    below = torch.where(rank[measured][above] == rank, above, (above - 1).clamp(min=0))
    return torch.maximum(noise[measured][above], noise[measured][below])
