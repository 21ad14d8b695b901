"""Jacobians that the caller gives: a closed form, and other engines."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nets.calculus.network import Network
from nets.errors import InputError, quoted
from nets.text import one_line
from nets.verification.derivations.engines.reading import OutOfReachError
from nets.verification.problem.copies import check_tensor
from nets.verification.problem.problem import Problem

GivenEngine = Callable[[Network, Tensor], Mapping[str, Tensor]]
"""(network, x) → {name: ∂Y/∂name}, and 'input' → ∂Y_n/∂X_n of shape (N, K, J)."""

StatedDerivation = Callable[..., Mapping[str, Tensor]]
"""(module, *inputs) → {name: ∂Y/∂name of shape (*Y.shape, *parameter.shape)}."""


def user_jacobians(
    problem: Problem, closed_form: StatedDerivation | None, intended: tuple[str, ...]
) -> dict[str, Tensor]:
    """The Jacobians of the caller's `closed_form`, flattened to (M, P).

    Raises:
        InputError: if `intended` or what `closed_form` returns names no point, or `closed_form` fails or returns
            something else.
    """
    if not isinstance(intended, tuple | list) or not all(isinstance(name, str) for name in intended):
        raise InputError(f"intended is {quoted(intended)}; expected a tuple of names, such as ('weight',).")
    unknown = [name for name in intended if name not in problem.points]
    if unknown:
        raise InputError(f"intended names {unknown[0]}; expected one of {', '.join(problem.points)}.")
    if closed_form is None:
        return {}
    found = _called(problem, closed_form)
    return {name: _flat(problem, "closed_form", name, jacobian) for name, jacobian in found.items()}


def engine_jacobians(problem: Problem, network: Network, name: str, engine: GivenEngine) -> dict[str, Tensor] | None:
    """The Jacobians of another engine, flattened to (M, P); None where the engine cannot compute this network, as with
    whole numbers for X.

    As in the closed form, the Jacobian by the input may have one block for each sample.

    Raises:
        InputError: if the engine fails, or returns something else.
    """
    who = f"the engine {quoted(name)}"
    if "input" not in problem.points:
        return None
    try:
        found = engine(network, problem.points["input"])
    except OutOfReachError:
        return None
    except Exception as error:  # the function is the caller's, and may raise anything
        raise InputError(
            f"{who} raises {type(error).__name__} ({one_line(error)}); expected engine(network, x) of "
            f"{{name: ∂Y/∂name}}."
        ) from error
    if not isinstance(found, Mapping) or not problem.points.keys() <= found.keys():
        raise InputError(
            f"{who} returned {quoted(found)}; expected a dict {{name: ∂Y/∂name}} of {', '.join(problem.points)}: leave "
            "it out if it does not know all of them."
        )
    blocks = {n: _by_sample(problem, j) if n == "input" else j for n, j in found.items()}
    return {n: _flat(problem, who, n, blocks[n]) for n in problem.points}


def _by_sample(problem: Problem, jacobian: Tensor) -> Tensor:
    """∂Y_nk/∂X_nj of each sample as a block of ∂Y/∂X; anything else as it is."""
    samples, point = problem.samples, problem.points["input"]
    if not isinstance(jacobian, Tensor) or jacobian.numel() * samples != len(problem.y) * point.numel():
        return jacobian
    return torch.block_diag(*jacobian.reshape(samples, len(problem.y) // samples, -1))


def _called(problem: Problem, closed_form: StatedDerivation) -> Mapping[str, Tensor]:
    try:
        found = problem.call_with(closed_form)
    except Exception as error:  # the function is the caller's, and may raise anything
        raise InputError(
            f"closed_form raises {type(error).__name__} ({one_line(error)}); expected closed_form(module, *inputs) to "
            "run on copies in double precision and to return {name: ∂Y/∂name}."
        ) from error
    if not isinstance(found, Mapping):
        raise InputError(f"closed_form returned a {type(found).__name__}; expected a dict {{name: ∂Y/∂name}}.")
    return found


def _flat(problem: Problem, who: str, name: str, jacobian: Tensor) -> Tensor:
    if name not in problem.points:
        raise InputError(f"{who} returned '{name}'; expected one of {', '.join(problem.points)}.")
    if not isinstance(jacobian, Tensor):
        raise InputError(f"{who} returned {name} as a {type(jacobian).__name__}; expected a tensor.")
    check_tensor(f"{name} as {who} returned it", jacobian)
    size = (len(problem.y), problem.points[name].numel())
    flat = torch.view_as_real(jacobian) if jacobian.is_complex() else jacobian
    if flat.numel() != size[0] * size[1]:
        raise InputError(
            f"{who} returned {name} with the shape {tuple(jacobian.shape)}; expected the axes of the output, then "
            f"those of the parameter, {size[0]} × {size[1]} numbers in all."
        )
    return flat.detach().to(torch.float64).reshape(size)
