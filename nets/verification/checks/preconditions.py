"""What must hold before a derivative can be checked at all: finite numbers, the same ones twice, gradients that add up."""

import contextlib
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nets.errors import InputError
from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.text import one_line, told_apart
from nets.verification.compare.comparison import POWER
from nets.verification.contract.check import check_writes
from nets.verification.derivations.autograd_modes import quiet
from nets.verification.fault_patterns.experiments import backward_cause
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.problem.calling.errors import OtherOutputsError
from nets.verification.problem.copies import copied
from nets.verification.problem.graph import dense, handed_out, pull_back
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest, like
from nets.verification.problem.randomness import stream

LAST_DIGITS = 1e-13
"""The part of the largest number by which two calls at the same point may differ, or a gradient and the sum of its rows."""


def check_behaviour(problem: Problem, seed: int, elsewhere: Callable[[], Problem] | None = None) -> tuple[list[Check], list[Check]]:
    """One check that does not pass, for the first thing that does not hold; none if all does.

    Args:
        elsewhere: the same module, called for the first time at another point and then put back to this one.

    Returns:
        What leaves nothing to be checked; and what is to be told if all else is right, since others may say it better.
    """
    for look in (_output_not_finite, _not_deterministic, _backward_fails, check_writes):
        found = look(problem, seed)
        if found:
            return found, []
    failed, eightfold = _accumulated(problem)
    return (failed, []) if failed or elsewhere is None or not eightfold else _remembered(problem, elsewhere, eightfold)


def _output_not_finite(problem: Problem, seed: int) -> list[Check]:
    if not torch.isfinite(problem.y).all():
        row = int((~torch.isfinite(problem.y)).nonzero()[0])
        where = _first_not_finite(problem)
        what = f"{problem.outputs.name(row)} is {float(problem.y[row])}{where}"
        return [_failed_output(Reason.NOT_FINITE.because(what=what))]
    return []


def _backward_fails(problem: Problem, seed: int) -> list[Check]:
    try:
        gradients = problem.gradient
    except InputError:
        raise
    except Exception as error:  # a backward of the user's may raise whatever it likes
        if "use_reentrant" in str(error):
            return [_judged("all", Verdict.INCONCLUSIVE, Reason.REENTRANT_CHECKPOINT.because())]
        return [_raised(error)]
    for name, gradient in gradients.items():
        if not math.isfinite(largest(gradient)):
            index = (~torch.isfinite(gradient)).nonzero()[0].tolist()
            what = "NaN" if gradient[tuple(index)].isnan() else "an infinite number"
            where = f"the backward pass gives {what} at {index}, though the output is finite"
            return [_failed(name, Reason.NOT_FINITE.because(what=where))]
    return []


def _first_not_finite(problem: Problem) -> str:
    """Where it began: the first submodule that turned finite numbers into others."""
    begun: list[str] = []

    def hook(name: str) -> object:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            tensors = [t for t in (output if isinstance(output, tuple | list) else [output]) if isinstance(t, Tensor)]
            if not begun and any(not torch.isfinite(t).all() for t in tensors if t.is_floating_point()):
                begun.append(f"; it began in '{name}', a {type(module).__name__}")

        return look

    inner = [(name, module) for name, module in problem.module.named_modules() if name]
    handles = [module.register_forward_hook(hook(name)) for name, module in inner]
    try:
        problem.evaluate()
    finally:
        for handle in handles:
            handle.remove()
    return begun[0] if begun else ""


def _not_deterministic(problem: Problem, seed: int) -> list[Check]:
    try:
        again = problem.evaluate()
    except OtherOutputsError as error:
        return [_failed_output(Reason.OTHER_SHAPE.because(first=error.first, now=error.now))]
    # A linear solver may round otherwise where its arguments lie elsewhere in memory.
    if largest(again - problem.y) > LAST_DIGITS * largest(problem.y):
        row = int((again - problem.y).abs().argmax())
        one, other = told_apart(float(problem.y[row]), float(again[row]))
        found = Reason.NOT_DETERMINISTIC.because(one=one, other=other, output=problem.outputs.name(row))
        return [_failed_output(found)]
    return []


def _accumulated(problem: Problem) -> tuple[list[Check], dict[str, Tensor]]:
    """Another backward pass, from a graph of its own, into a `.grad` that holds something, as a user accumulates: −2 G + G. Then,
    by a second walk through that graph, the gradient of −8 vᵀY; nothing where it cannot be walked twice."""
    y, leaves = problem.record()
    if not y.requires_grad:
        return [], {}
    # −2 G, or −G/2 where that would overflow.
    held = -2.0 if math.isfinite(2 * max(map(largest, problem.gradient.values()))) else -0.5
    try:
        for name, leaf in leaves.items():
            leaf.grad = torch.empty_like(leaf).copy_(like(held * problem.gradient[name].contiguous(), leaf))
        try:
            y.backward(problem.cotangent.clone(), retain_graph=True)
        except Exception as error:  # a backward of the user's on the way to what is no point
            return [_raised(error)], {}
        for name, leaf in leaves.items():
            first = problem.gradient[name]
            found, size = dense(leaf.grad, leaf), largest(first)
            if largest(found - (1 + held) * first) > 1e-9 * size:
                overwritten = largest(found - first) <= 1e-9 * size
                reason = Reason.GRAD_OVERWRITTEN if overwritten else Reason.OTHER_SECOND_GRADIENT
                return [_failed(name, reason.because()).looks_like(backward_cause(problem))], {}
    finally:
        for parameter in problem.module.parameters():
            parameter.grad = None
    with contextlib.suppress(Exception):  # whatever a backward raises that has let go of what it kept
        walked = handed_out(y, _far(problem) * problem.cotangent, leaves)
        # What overflows on the way says nothing.
        return [], walked if all(torch.isfinite(g).all() for g in walked.values()) else {}
    return [], {}


def _far(problem: Problem) -> float:
    """The factor of a cotangent that is far from v: −8, or −1/8 where the gradient would overflow."""
    return -8.0 if math.isfinite(8 * max(map(largest, problem.gradient.values()))) else -0.125


def _remembered(
    problem: Problem, elsewhere: Callable[[], Problem], eightfold: Mapping[str, Tensor]
) -> tuple[list[Check], list[Check]]:
    """The gradient of −8 vᵀY after a first call at another point, and as a later walk gives it here: both must be −8 G. A module
    may have kept what it should have forgotten, a value or the v that reached it first; or its backward is not linear in v."""
    try:
        fresh = elsewhere()
    except InputError:  # it does not take the other point
        return [], []
    y, leaves = fresh.record()
    # Not to the last digit, since torch may take another path where a graph is recorded.
    if (y.detach() - problem.y).abs().max() > 1e-9 * problem.y.abs().max():
        return [_failed_output(Reason.OUTPUT_REMEMBERS.because())], []
    later = []
    far = _far(problem)
    for name, other in handed_out(y, far * problem.cotangent, leaves).items():
        expected, here = far * problem.gradient[name], eightfold[name]
        size = 1e-9 * largest(expected)
        if largest(other - here) > size:
            reason = Reason.OTHER_SECOND_WALK if largest(other - expected) <= size else Reason.GRADIENT_REMEMBERS
            return [_failed(name, reason.because()).looks_like(backward_cause(problem))], []
        if _apart(other, expected):
            later.append(_not_linear(problem, name, other, expected))
    return [], later


def moved_first(module: nn.Module, inputs: tuple[Any, ...], problem: Problem, seed: int) -> Problem:
    """The problem, with a module whose first call was at another point: inputs and parameters up to a tenth larger.

    Raises:
        InputError: where the module does not take these.
    """
    generator = stream(seed, "another point")
    chosen = any(isinstance(x, Tensor) and x.requires_grad for x in pytree.tree_leaves(inputs))

    def moved(x: Any) -> Any:
        # What is no point stays where it is, since it could not be put back.
        if not isinstance(x, Tensor) or not x.is_floating_point() or (chosen and not x.requires_grad):
            return x
        factor = 1 + 0.1 * torch.rand(x.shape, generator=generator).to(x)
        return (x.detach() * factor).requires_grad_(x.requires_grad)

    elsewhere = copied(module, problem.dtype)
    with torch.no_grad():
        for parameter in elsewhere.parameters():
            if parameter.requires_grad:
                parameter.mul_(1 + 0.1 * torch.rand(parameter.shape, generator=generator).to(parameter))
    fresh = Problem(elsewhere, pytree.tree_map(moved, inputs), dtype=problem.dtype, seed=seed)
    for name, point in fresh.points.items():
        point.copy_(problem.points[name])
    return fresh


def check_pullback(
    problem: Problem, jacobians: Mapping[str, Tensor], noise: Mapping[str, Tensor], seed: int, intended: Collection[str] = ()
) -> list[Check]:
    """One backward pass with a random v, each |v_m| about ten, must give vᵀ(∂Y/∂p): for all points at once, and for each where it
    is the only one that requires a gradient. A failed check for the first that does not; none if all do, but for those that are
    intended to be no derivatives."""
    generator = stream(seed, "cotangent of ten")
    v = 10 * torch.randn(len(problem.y), generator=generator, dtype=torch.float64).to(problem.y.dtype)
    for alone in (None, *problem.points):
        try:
            with quiet():
                y, leaves = problem.record(None if alone is None else {alone})
                gradients = pull_back(y, v, leaves)
        except Exception:  # a hook that is given no gradient for the input, say; with all points it did work
            if alone is None:
                raise
            continue
        for name, gradient in gradients.items():
            if name in intended:
                continue
            error = (gradient.reshape(-1) - v @ jacobians[name]).abs()
            # Both are sums over the outputs, each of which may be off by the noise of its row, and v by the rounding of Y.
            rounded = (v.abs() * problem.unit) @ jacobians[name].abs()
            # A gradient that is zero by cancellation is rounded as what cancels is, which is no more than a unit of the output.
            least = max(LAST_DIGITS * largest(v.abs() @ jacobians[name].abs()), float((v.abs() * problem.unit) @ problem.y.abs()))
            bar = (ROUNDING_SAFETY * (v.abs() @ noise[name] + rounded)).clamp(min=least)
            if (error > bar).any():
                entry = int(error.argmax())
                gives, total = told_apart(float(gradient.reshape(-1)[entry]), float(v @ jacobians[name][:, entry]))
                reason = Reason.NOT_LINEAR if alone is None else Reason.OTHER_WHERE_ALONE
                where = list(problem.point_index(name, entry))
                how = f"at entry {where} it gives {gives} where the sum over the outputs is {total}"
                return [_failed(name, reason.because(how=how))]
    return []


def check_parameters_alone(problem: Problem) -> list[Check]:
    """The gradient where no input requires one, as in training, must be the same. A failed check for the first that is not."""
    alone = problem.parameters
    if not alone or len(alone) == len(problem.points):
        return []
    try:
        with quiet():
            y, leaves = problem.record(alone)
            found = handed_out(y, problem.cotangent, leaves)
    except Exception:  # a hook that is given no gradient for the input, say; with all points it did work
        return []
    for name, gradient in found.items():
        if _apart(gradient, problem.gradient[name]):
            return [_failed(name, Reason.OTHER_WITHOUT_INPUTS.because())]
    return []


def _not_linear(problem: Problem, name: str, found: Tensor, expected: Tensor) -> Check:
    entry = int((found - expected).abs().argmax())
    gives, ought = told_apart(float(found.reshape(-1)[entry]), float(expected.reshape(-1)[entry]))
    where = list(problem.point_index(name, entry))
    how = f"of −8 times that gradient it makes {gives} at entry {where}, where {ought} is −8 times what it made of it"
    return _failed(name, Reason.NOT_LINEAR.because(how=how))


def _apart(one: Tensor, other: Tensor) -> bool:
    """Whether they differ by a fault that must be seen: on another path through a module numbers may be rounded otherwise, and what
    underflows is off by as much as it is."""
    return largest(one - other) > max(POWER * largest(other), torch.finfo(other.dtype).smallest_normal)


def _failed(parameter: str, found: Finding) -> Check:
    return _judged(parameter, Verdict.FAIL, found)


def _judged(parameter: str, verdict: Verdict, found: Finding) -> Check:
    return Check.without_entry(parameter, Method.REVERSE_MODE, Method.ITSELF, verdict, found)


def _failed_output(found: Finding) -> Check:
    return Check.without_entry("output", Method.FORWARD_PASS, Method.ITSELF, Verdict.FAIL, found)


def _raised(error: Exception) -> Check:
    return _failed("all", Reason.BACKWARD_RAISES.because(error=f"{type(error).__name__}: {one_line(error)}"))
