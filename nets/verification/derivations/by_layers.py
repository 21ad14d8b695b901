"""The closed form of a `Network`: the chain rule over the layers' own derivatives."""

from collections.abc import Mapping

import torch
from torch import Tensor

from nets.calculus.checks import unchanged
from nets.calculus.jacobians import jacobians
from nets.calculus.network import Network
from nets.verification.problem.problem import Problem


def jacobians_by_layers(network: Network, problem: Problem, reverse: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """∂Y/∂p of every point, shape (M, P).

    A layer may have faster Jacobians of its own, and training uses its `gradients`. Where the two differ, at least one
    of them is wrong: the one that is farther from reverse mode is returned, so that a fault in either is seen.

    Args:
        network: the module of the problem.
        problem: the function.
        reverse: ∂Y/∂p of every point by reverse mode, shape (M, P).
    """
    x = network_input(problem)
    outputs = len(problem.y) // len(x)
    found = {}
    with problem.same_draws():
        every = jacobians(network, x)
    with problem.same_draws(), unchanged(network):
        values = network.trace(x)
        trained = network.gradients_along(_weights(problem.y.numel(), values[-1]).reshape(values[-1].shape), values)
    for name, jacobian in every.items():
        if name not in problem.points:
            continue
        dense = jacobian.dense()
        blocks = name == "input" and jacobian.shape != jacobian.output_shape + tuple(x.shape)
        # Unless samples are coupled, no output depends on another sample: ∂Y_nk/∂X_mj = δ_nm ∂Y_nk/∂X_nj.
        by_sample = dense.reshape(len(x), outputs, -1)
        found[name] = torch.block_diag(*by_sample) if blocks else by_sample.flatten(0, 1)
    differing = [name for name, gradient in trained.items() if name in found and _contradict(found[name], gradient)]
    rows = _rows(network, values, differing)
    return found | {name: _farther(reverse[name], found[name], own) for name, own in rows.items()}


def _farther(expected: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The one of two Jacobians with the larger difference from an expected one; NaN counts as the largest."""
    distance, far = ((jacobian - expected).abs().nan_to_num(torch.inf).amax() for jacobian in (one, other))
    return one if distance > far else other


def _contradict(jacobian: Tensor, gradient: Tensor) -> bool:
    """Whether a Jacobian J, shape (M, P), and the gradient for the cotangent v of `_weights` are not Σ_m v_m J_mp."""
    expected = _weights(len(jacobian), jacobian) @ jacobian
    tolerance = torch.finfo(gradient.dtype).eps ** 0.5
    atol = tolerance * float(jacobian.abs().nan_to_num(0, 0, 0).sum(0).amax()) if jacobian.numel() else 0.0
    return not torch.allclose(gradient.flatten(), expected, rtol=tolerance, atol=atol, equal_nan=True)


def _weights(outputs: int, like: Tensor) -> Tensor:
    """v_m = (1 + m)^½, a cotangent whose numbers all differ."""
    return torch.arange(1, outputs + 1, dtype=like.dtype, device=like.device).sqrt()


@torch.no_grad()
def _rows(network: Network, values: list[Tensor], names: list[str]) -> dict[str, Tensor]:
    """The gradients of one output after the other, shape (M, P)."""
    if not names:
        return {}
    y = values[-1]
    units = torch.eye(y.numel(), dtype=y.dtype, device=y.device).reshape(-1, *y.shape)
    rows = [network.gradients_along(unit, values) for unit in units]
    return {name: torch.stack([row[name].flatten() for row in rows]) for name in names}


def network_input(problem: Problem) -> Tensor:
    """A copy of X. Where it holds whole numbers, it is not among the points that are differentiated by."""
    x: Tensor = problem.call_with(lambda _, x: x)
    return x


def network_of(problem: Problem) -> Network | None:
    """The module of a problem if it is a `Network`, which has a closed form."""
    return problem.module if isinstance(problem.module, Network) else None
