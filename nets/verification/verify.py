"""Is every derivative of this module right, at this point?"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.formulas import formulas
from nets.calculus.network import Network
from nets.errors import InputError
from nets.verification import oracles
from nets.verification.behaviour import check_behaviour
from nets.verification.certificate import Certificate, Check, listed
from nets.verification.comparison import Derivation, by_difference, compare, odd_one_out
from nets.verification.difference import is_constant
from nets.verification.gradcheck import check_function
from nets.verification.problem import Problem
from nets.verification.rounding import gradient_floor, output_floor

ROUNDING_SAFETY = 32.0
"""Two derivations without truncation error agree to a few units of the rounding noise; an entry off by 32 of them is wrong."""

COMPLEX_BUDGET = 1_000
"""Numbers in parameters and inputs up to which the complex step is taken along each; it has no batched form."""

ClosedForm = Callable[..., Mapping[str, Tensor]]
Engine = Callable[[Network, Tensor], Mapping[str, Tensor]]


def verify(
    module: nn.Module,
    *inputs: Any,
    seed: int = 0,
    closed_form: ClosedForm | None = None,
    intended: tuple[str, ...] = (),
    engines: Mapping[str, Engine] | None = None,
) -> Certificate:
    """Check ∂Y/∂θ of every parameter and ∂Y/∂X, entry by entry, in float64 on copies.

    What is judged is the closed form of a `Network`, and of any other module its own backward pass. It is held against reverse
    mode, forward mode, reverse mode under vmap, the complex step and central differences, as far as the module has them. Where
    three derivations or more are at hand, the one that disagrees with the rest is named.

    Args:
        module: what to verify. It is copied; its parameters, `.grad`, buffers and mode, and the global random state stay as they are.
        inputs: what to call it with: tensors, or nested lists, tuples and dicts of them. A few samples are enough, since every
            entry is checked for each. Floating-point inputs are differentiated by (only those that require a gradient, if some do).
        seed: of the module's own random numbers and of every random choice made here.
        closed_form: `closed_form(module, *inputs)` → {name: ∂Y/∂name of shape (*Y.shape, *parameter.shape)}, a derivation of yours.
        intended: names whose gradient is meant to differ from the derivative, such as that of a straight-through estimator; it is
            then held against `closed_form` alone.
        engines: further derivations of a `Network`, such as `nets.verification.engines.available()`.

    Returns:
        A Certificate; `.passed` only where every check is a 'pass'.

    Raises:
        InputError: if the module cannot be copied or called, or there is nothing to differentiate.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        problem = Problem(module, inputs, seed=seed)
        failed = check_behaviour(problem, seed)
        if failed:
            return Certificate(tuple(failed))
        stated = _stated(problem, closed_form, intended)
        if isinstance(problem.module, Network):
            return _network_certificate(problem.module, problem, seed, stated, intended, engines or {})
        return _certificate(problem, seed, stated, intended)


def _certificate(problem: Problem, seed: int, stated: Mapping[str, Tensor], intended: tuple[str, ...]) -> Certificate:
    """The module's own backward pass against everything else."""
    reverse, batched = oracles.reverse_mode(problem), oracles.batched_reverse(problem)
    floor, noise = output_floor(problem, seed), gradient_floor(problem, reverse, seed)
    small = sum(point.numel() for point in problem.points.values()) <= COMPLEX_BUDGET
    checks, missing = [], list[str]()
    for name in problem.points:
        derivations = {
            "reverse mode": reverse[name],
            "batched reverse": batched and batched[name],
            "forward mode": oracles.forward_mode(problem, name),
            "complex step": oracles.complex_step(problem, name) if small else None,
            "stated closed form": stated.get(name),
        }
        missing += [f"no {oracle} for {name}" for oracle in ("forward mode", "batched reverse") if derivations[oracle] is None]
        checks += _judged(problem, name, derivations, noise[name], floor, seed, name in intended)
    return Certificate(tuple(checks), notes=tuple(missing))


def _network_certificate(
    network: Network,
    problem: Problem,
    seed: int,
    stated: Mapping[str, Tensor],
    intended: tuple[str, ...],
    engines: Mapping[str, Engine],
) -> Certificate:
    """The closed form against everything else, and as a function against `gradcheck`."""
    closed, reverse = oracles.closed_form(network, problem), oracles.reverse_mode(problem)
    floor, noise = output_floor(problem, seed), gradient_floor(problem, reverse, seed)
    others = {engine: oracles.from_engine(derive, network, problem) for engine, derive in engines.items()}
    checks = []
    for name in problem.points:
        derivations = {
            "closed form": closed[name],
            "reverse mode": reverse[name],
            "forward mode": oracles.forward_mode(problem, name),
            **{engine: found and found[name] for engine, found in others.items()},
            "stated closed form": stated.get(name),
        }
        checks += _judged(problem, name, derivations, noise[name], floor, seed, name in intended)
    return Certificate((*checks, *check_function(network, problem)), formulas(network))


def _judged(
    problem: Problem,
    name: str,
    jacobians: Mapping[str, Tensor | None],
    noise: float,
    floor: Tensor,
    seed: int,
    intended: bool,
) -> list[Check]:
    """The first derivation against each of the others and against differences."""
    tolerance = torch.tensor(ROUNDING_SAFETY * noise, dtype=torch.float64)
    subject, *others = [Derivation(d, j.detach(), tolerance) for d, j in jacobians.items() if j is not None]
    if intended:
        own = [other for other in others if other.name in ("stated closed form", "batched reverse")]
        checks = [compare(problem, name, subject, other, constant=True) for other in own]
        reason = "not the derivative, and declared so by the caller"
        return checks or [Check.plain(name, subject.name, "intention", 0, "pass", reason)]
    constant = is_constant(problem, name, floor, seed)
    difference = by_difference(problem, name, subject.jacobian, floor, seed)
    # A complex step through an operation that is not analytic is no derivative.
    others = [d for d in others if d.name != "complex step" or not compare(problem, name, d, difference, constant).wrong]
    others.append(difference)
    checks = [compare(problem, name, subject, other, constant) for other in others]
    if all(check.verdict != "fail" for check in checks):
        return checks
    return _blamed(problem, name, [subject, *others], checks, constant)


def _blamed(
    problem: Problem, name: str, derivations: list[Derivation], checks: list[Check], constant: bool
) -> list[Check]:
    """The same checks, with the derivation named that disagrees with the rest. Where that is not the one that was judged, it is
    held against differences in its place."""
    odd = odd_one_out(derivations)
    if odd is None:
        return checks
    rest = listed([d.name for d in derivations if d is not odd])
    verdict = f"; {rest} agree, {odd.name} is the one that is wrong"
    if odd is derivations[0]:
        return [check.because(verdict) if check.verdict == "fail" else check for check in checks]
    if odd is derivations[-1]:
        return checks
    own = compare(problem, name, odd, derivations[-1], constant).because(verdict)
    return [own if check.against == odd.name else check for check in checks]


def _stated(problem: Problem, closed_form: ClosedForm | None, intended: tuple[str, ...]) -> dict[str, Tensor]:
    """The caller's own Jacobians, flattened to (M, P)."""
    unknown = [name for name in intended if name not in problem.points]
    if unknown:
        raise InputError(f"intended names {unknown[0]}; expected one of {', '.join(problem.points)}.")
    if closed_form is None:
        return {}
    found = {}
    for name, jacobian in problem.call_with(closed_form).items():
        if name not in problem.points:
            raise InputError(f"closed_form returned '{name}'; expected one of {', '.join(problem.points)}.")
        size = (len(problem.y), problem.points[name].numel())
        flat = torch.view_as_real(jacobian) if jacobian.is_complex() else jacobian
        if flat.numel() != size[0] * size[1]:
            raise InputError(
                f"closed_form returned {name} with the shape {tuple(jacobian.shape)}; expected the axes of the output, then "
                f"those of the parameter, {size[0]} × {size[1]} numbers in all."
            )
        found[name] = flat.detach().to(torch.float64).reshape(size)
    return found
