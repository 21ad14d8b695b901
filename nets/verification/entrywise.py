"""The certificate of a module that is small enough to check every entry of its Jacobians."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from nets.calculus.formulas import written_formulas
from nets.calculus.network import Network
from nets.records.certificate import Certificate
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.verification.checks.gradcheck import check_function
from nets.verification.checks.linearity import check_pullback
from nets.verification.compare.findings import Judgement, together
from nets.verification.compare.judgement import Judge, Options
from nets.verification.derivations.by_layers import jacobians_by_layers, network_input, network_of
from nets.verification.derivations.complex_step import complex_step
from nets.verification.derivations.forward_mode import forward_mode
from nets.verification.derivations.reverse_mode import batched_reverse, reverse_mode
from nets.verification.derivations.user_jacobian import engine_jacobians
from nets.verification.noise.output_noise import output_floor
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.noise.row_noise import gradient_floor
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.progress import POINTS, following

COMPLEX_BUDGET = 1_000
"""The most numbers in parameters and inputs for which the complex step is computed along each; it has no batched
form."""

Jacobians = Mapping[str, Tensor | None]
"""Derivation → ∂Y/∂p, shape (M, P); None where the module has no such derivation. The first one is judged."""


def entrywise_certificate(problem: Problem, options: Options) -> Certificate:
    """Compare every entry of every Jacobian, by the judged derivation, with every other derivation."""
    network = network_of(problem)
    if network is None:
        return module_certificate(problem, options)
    return _network_certificate(network, problem, options)


def module_certificate(problem: Problem, options: Options, closed: Mapping[str, Tensor] | None = None) -> Certificate:
    """Compare the module's own backward pass with every other derivation; or a closed form, of shape (M, P), if that is
    given."""
    reverse, batched = reverse_mode(problem), batched_reverse(problem)
    judge = _judge(problem, reverse, options)
    failed = check_pullback(problem, reverse, judge.noise, options.intended)
    small = sum(point.numel() for point in problem.points.values()) <= COMPLEX_BUDGET

    def derivations(name: str) -> Jacobians:
        return {
            **({} if closed is None else {Method.CLOSED_FORM: closed[name]}),
            Method.REVERSE_MODE: reverse[name],
            Method.BATCHED_REVERSE: None if batched is None else batched[name],
            Method.FORWARD_MODE: forward_mode(problem, name),
            Method.COMPLEX_STEP: complex_step(problem, name) if small else None,
            Method.STATED_CLOSED_FORM: options.stated.get(name),
        }

    judgement = _judged(judge, derivations)
    return Certificate((*judgement.checks, *failed), notes=judgement.notes())


def _network_certificate(network: Network, problem: Problem, options: Options) -> Certificate:
    """Compare the closed form with every other derivation, and check it by `gradcheck` as well."""
    reverse = reverse_mode(problem)
    closed = jacobians_by_layers(network, problem, reverse)
    engines = {name: engine_jacobians(problem, network, name, engine) for name, engine in options.engines.items()}

    def derivations(name: str) -> Jacobians:
        return {
            Method.CLOSED_FORM: closed[name],
            Method.REVERSE_MODE: reverse[name],
            Method.FORWARD_MODE: forward_mode(problem, name),
            **{engine: None if found is None else found[name] for engine, found in engines.items()},
            Method.STATED_CLOSED_FORM: options.stated.get(name),
        }

    judgement = _judged(_judge(problem, reverse, options), derivations)
    function = check_function(network, problem, options.intended)
    if any(check.reason is Reason.KINK for check in judgement.checks):
        # At a kink gradcheck measures the mean of two slopes, and reports a mismatch.
        function = [replace(c, verdict=Verdict.INCONCLUSIVE) if c.verdict == Verdict.FAIL else c for c in function]
    written = written_formulas(network, network_input(problem))
    known = {name: str(formula) for name, formula in written.formulas.items() if name in problem.points}
    return Certificate((*judgement.checks, *function), known, (*judgement.notes(), *written.notes))


def _judge(problem: Problem, reverse: Mapping[str, Tensor], options: Options) -> Judge:
    noise = gradient_floor(problem, reverse, problem.seed)
    if options.tolerance is not None:
        # An approximate gradient may differ between two backward passes through its graph by the error that is allowed.
        least = {name: options.tolerance * largest(jacobian) / ROUNDING_SAFETY for name, jacobian in reverse.items()}
        noise = {name: rows.clamp(min=least[name]) for name, rows in noise.items()}
    return Judge(problem, output_floor(problem, problem.seed), noise, options)


def _judged(judge: Judge, derivations: Callable[[str], Jacobians]) -> Judgement:
    """What was found at all points together."""
    return together(judge.judged(name, derivations(name)) for name in following(POINTS, judge.problem.points))
