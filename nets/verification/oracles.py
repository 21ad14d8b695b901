"""Independent derivations of the same Jacobian. One signature: (problem, name) → ∂Y_m/∂name, shape (M, *point.shape)."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacrev, jvp, vmap

from nets.calculus.jacobians import jacobians
from nets.calculus.network import Network
from nets.verification.problem import Problem

CHUNK = 2**18
"""Numbers that a batch of moved parameters may hold: two megabytes, which stay in the processor's cache."""


def closed_form(problem: Problem, name: str) -> Tensor:
    """The chain rule over the layers' own derivatives; there is one for a `Network`."""
    assert isinstance(problem.module, Network)
    dense = jacobians(problem.module, problem.points["input"])[name].dense()
    if name == "input":
        # No sample's output depends on another sample: ∂Y_nk/∂X_mj = δ_nm ∂Y_nk/∂X_nj.
        dense = torch.block_diag(*dense)
    return dense.reshape(len(problem.y), *problem.points[name].shape)


def reverse_mode(problem: Problem, name: str) -> Tensor:
    """`torch.func.jacrev`: one backward pass for each output."""
    jacobian: Tensor = jacrev(lambda point: problem.along(name, point))(problem.points[name])
    return jacobian.detach()


def forward_mode(problem: Problem, name: str) -> Tensor:
    """`torch.func.jvp` along each entry of the point: dual numbers, no backward pass at all."""
    point = problem.points[name]
    with warnings.catch_warnings():
        # torch compiles some of its rules with torch.jit.script, which it has deprecated, at their first use.
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=DeprecationWarning)
        return by_columns(lambda t: jvp(lambda p: problem.along(name, p), (point,), (t,))[1], point)


def by_columns(derivative: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    """∂Y/∂point from `derivative`, which gives ∂Y/∂t, shape (..., M), along a direction t: one unit direction per entry.

    Returns a tensor of shape (..., M, *point.shape).
    """
    count = point.numel()
    width = max(1, min(count, CHUNK // max(count, 1)))
    columns = []
    for start in range(0, count, width):
        entries = torch.arange(start, min(start + width, count))
        directions = torch.zeros(len(entries), count, dtype=point.dtype)
        directions[torch.arange(len(entries)), entries] = 1
        with torch.no_grad():
            columns.append(vmap(derivative)(directions.reshape(len(entries), *point.shape)))
    stacked = torch.cat(columns).movedim(0, -1)
    return stacked.reshape(*stacked.shape[:-1], *point.shape)
