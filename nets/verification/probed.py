"""The certificate of a module that is too large to check every entry: it is checked along random directions."""

from dataclasses import replace

from nets.calculus.formulas import written_formulas
from nets.calculus.jacobians import jacobians
from nets.records.certificate import Certificate
from nets.records.method import Method
from nets.records.verdict import Verdict
from nets.verification.checks.gradcheck import check_function
from nets.verification.checks.linearity import check_parameters_alone
from nets.verification.compare.judgement import Options, not_checked
from nets.verification.derivations.by_layers import network_input, network_of
from nets.verification.noise.output_noise import FEW_PASSES, output_floor
from nets.verification.probing.coverage import check_by_probes, check_closed_form, check_stated
from nets.verification.probing.forward_probes import forward_of_closed_form, forward_of_module
from nets.verification.probing.prober import Prober
from nets.verification.problem.problem import Problem
from nets.verification.progress import POINTS, following


def probed_certificate(problem: Problem, options: Options, note: str) -> Certificate:
    """Compare the gradient of vᵀY by the judged derivation, for a random v, with differences along random directions.

    Args:
        note: the first note of the certificate, which says why it is probed.
    """
    alone = check_parameters_alone(problem)
    if alone:
        return Certificate(tuple(alone))
    network = network_of(problem)
    oracle = Method.REVERSE_MODE if network is None else Method.CLOSED_FORM
    closed = None if network is None else jacobians(network, network_input(problem))
    prober = Prober(problem, output_floor(problem, problem.seed, FEW_PASSES), closed, options.tolerance or 0.0)
    found = {
        name: check_by_probes(prober, name, oracle) for name in following(POINTS, _from_the_output(problem, options))
    }
    chosen = [name for name in problem.points if name in found]
    checks = [found[name] for name in chosen]
    if any(check.verdict != Verdict.PASS for check in checks):
        return Certificate(tuple(checks))
    exact = [
        not_checked(name, oracle) for name in options.intended if name in problem.points and name not in options.stated
    ]
    if network is None:
        forward = forward_of_module(prober, chosen, oracle, options.forward)
    else:
        exact += [check_closed_form(prober, name) for name in chosen]
        forward = forward_of_closed_form(prober, chosen, options.forward)
        exact += check_function(network, problem, options.intended)
    exact += forward.checks
    exact += [check_stated(prober, name, oracle, jacobian) for name, jacobian in options.stated.items()]
    if checks:
        least = max(checks, key=lambda check: check.detects or 0.0)
        note += f"; least sure of {least.parameter}: {least.message}"
    certificate = Certificate((*checks, *exact), notes=(note, *forward.notes()))
    if network is None:
        return certificate
    written = written_formulas(network, network_input(problem))
    known = {name: str(formula) for name, formula in written.formulas.items()}
    return replace(certificate, formulas=known, notes=(*certificate.notes, *written.notes))


def _from_the_output(problem: Problem, options: Options) -> list[str]:
    """The points to check, parameters first, from the output backwards: the wrong one nearest to the output is closest
    to the fault."""
    parameters = [name for name in problem.points if name in problem.parameters]
    inputs = [name for name in problem.points if name not in problem.parameters]
    return [name for name in (*reversed(parameters), *inputs) if name not in options.intended]
