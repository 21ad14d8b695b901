"""The closed form of a `Network`: the chain rule over the layers' own derivatives."""

import torch
from torch import Tensor

from nets.calculus.jacobians import jacobians
from nets.calculus.network import Network
from nets.verification.problem.problem import Problem


def jacobians_by_layers(network: Network, problem: Problem) -> dict[str, Tensor]:
    """∂Y/∂p of every point, shape (M, P)."""
    x = network_input(problem)
    outputs = len(problem.y) // len(x)
    found = {}
    for name, jacobian in jacobians(network, x).items():
        if name not in problem.points:
            continue
        dense = jacobian.dense()
        # No output of a sample depends on another sample: ∂Y_nk/∂X_mj = δ_nm ∂Y_nk/∂X_nj.
        by_sample = dense.reshape(len(x), outputs, -1)
        found[name] = torch.block_diag(*by_sample) if name == "input" else by_sample.flatten(0, 1)
    return found


def network_input(problem: Problem) -> Tensor:
    """A copy of X, which is no point where it holds whole numbers."""
    x: Tensor = problem.call_with(lambda _, x: x)
    return x


def network_of(problem: Problem) -> Network | None:
    """The module of a problem if it is a `Network`, which has a closed form."""
    return problem.module if isinstance(problem.module, Network) else None
