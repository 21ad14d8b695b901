"""Is every derivative of this module right, at this point?"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.formulas import formulas
from nets.calculus.jacobians import jacobians
from nets.calculus.network import Network
from nets.records.certificate import Certificate
from nets.records.method import WITNESSES, Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.text import listed, precision_name
from nets.verification.arguments import check_arguments, first_order_only
from nets.verification.checks.gradcheck import check_function
from nets.verification.checks.not_copied import check_left_out
from nets.verification.checks.precision import check_as_is
from nets.verification.checks.preconditions import check_behaviour, check_parameters_alone, check_pullback, moved_first
from nets.verification.compare.judgement import Judge, Judgement, Options, declared
from nets.verification.compare.witnesses import Forward, noted
from nets.verification.contract.check import check_contract
from nets.verification.contract.elsewhere import check_elsewhere
from nets.verification.contract.later_writes import kept_inputs
from nets.verification.contract.layouts import depends_on_layout
from nets.verification.contract.saved import overwritten
from nets.verification.derivations import autograd_modes as oracles
from nets.verification.derivations.user_jacobian import ClosedForm, Engine, engine_jacobians, stated_jacobians
from nets.verification.noise.output_noise import FEW_PASSES, output_floor
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.noise.row_noise import gradient_floor
from nets.verification.probing.coverage import check_by_probes, check_closed_form, check_stated
from nets.verification.probing.forward_probes import forward_of_closed_form, forward_of_module
from nets.verification.probing.prober import Prober
from nets.verification.probing.submodules import locate
from nets.verification.problem.calling.errors import OwnPrecisionError
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import largest
from nets.verification.problem.strides import written_out
from nets.verification.progress import following, shown
from nets.verification.second_order.gradient_module import SecondOrder
from nets.verification.second_order.incoming_gradient import check_incoming

BUDGET = 5_000
"""Numbers in parameters and inputs up to which coverage='auto' checks every entry."""

COMPLEX_BUDGET = 1_000
"""Numbers in parameters and inputs up to which the complex step is taken along each; it has no batched form."""

POINTS = "parameter or input"
"""What is counted while it is shown how far a verification is."""


def verify(
    module: nn.Module,
    *inputs: Any,
    coverage: str = "auto",
    seed: int = 0,
    order: int = 1,
    dtype: str = "float64",
    closed_form: ClosedForm | None = None,
    intended: tuple[str, ...] = (),
    engines: Mapping[str, Engine] | None = None,
    forward: Forward = "optional",
    tolerance: float | None = None,
) -> Certificate:
    """Check ∂Y/∂θ of every parameter and ∂Y/∂X, entry by entry, in float64 on copies.

    What is judged is the closed form of a `Network`, and of any other module its own backward pass. It is held against reverse
    mode, forward mode, reverse mode under vmap, the complex step and central differences, as far as the module has them. Where
    three derivations or more are at hand, the one that disagrees with the rest is named.

    Args:
        module: what to verify. It is copied, to the CPU wherever it is; its parameters, `.grad`, buffers and mode, and the global
            random state stay as they are.
        inputs: what to call it with: tensors, or nested lists, tuples and dicts of them. A few samples are enough, since every
            entry is checked for each. Floating-point inputs are differentiated by (only those that require a gradient, if some do).
        coverage: 'full' to check every entry; 'auto' to do so up to BUDGET numbers in parameters and inputs and to probe beyond
            (see `nets.verification.probing.coverage`). The certificate then states with what probability a fault would have been
            seen.
        seed: of the module's own random numbers and of every random choice made here.
        order: 1 for the gradient; 2 for the gradient of the gradient: then the module that is checked is the one whose output
            is G_p = Σ_m v_m ∂Y_m/∂p, for every parameter and input p and a random v. G is differentiated by v as well.
        dtype: 'float64', or 'as is' to check also the module in the precision that it has, against its copy in float64.
        closed_form: `closed_form(module, *inputs)` → {name: ∂Y/∂name of shape (*Y.shape, *parameter.shape)}, a derivation of yours.
        intended: names whose gradient is meant to differ from the derivative, such as that of a straight-through estimator. It is
            held against `closed_form` where that states it. Otherwise it is not checked, and not counted among what was.
        engines: further derivations of a `Network`, such as `nets.verification.derivations.engines.available()`.
        forward: 'optional' to take forward mode for a witness: where it is missing or wrong while differences bear out what is
            judged, a note says what it gives. 'required' to make that a failure, for a module whose forward mode is used.
        tolerance: how far off an entry of a gradient that is meant to be approximate may be, in parts of the largest entry of its
            Jacobian (where it is probed, of the gradient of a random sum of the outputs): that of a continuous adjoint, or of a
            guard such as 1e-12 in a denominator. Above 0 and below 1. The sentence states it; None for rounding alone.

    Returns:
        A Certificate; `.passed` only where every check is a 'pass'.

    Raises:
        InputError: if the module cannot be copied or called, or there is nothing to differentiate.

    Limitations:
        - A pass holds at these inputs and these parameters. A branch that is not taken there is not checked.
        - Size of a fault. A check passes only if it would have seen a scale that is 1e-3 off. What it would have seen is in the
          sentence; measured: a scale or one entry that is off by 3e-9 of the largest in small networks of tanh, LayerNorm, GELU or
          attention, 1e-11 in a convolution with ReLU, and 4e-8 to 3e-7 by probes in networks of 64-256-10 and 784-300-10. A smaller
          fault passes, unless two of the exact derivations agree against it. It leaves a note if forward mode or the complex step
          alone shows it.
        - Above 5,000 numbers in parameters and inputs (coverage='auto') entries are probed. Measured: one zeroed entry, or one
          zeroed or flipped row, of the gradient of a random sum of the outputs is seen with a probability above 0.9999 in
          64-256-10 with tanh, and of 0.947 in 784-300-10 with ReLU, where most of the others are zero to begin with. A fault that
          this random sum cancels is not seen.
        - Kinks. Of each parameter or input, 32 numbers at which the two slopes differ by more than a hundredth are looked at, and
          16 at which they differ by less. A fainter kink among more curves than that may be missed.
        - Gradients that are zero at this point pass with an absolute bound, which is 1e-6 of the slopes nearby at most. Below it, a
          backward that gives zero by mistake is not seen.
        - What turns within the smallest step, 2⁻⁴⁴ of the number that is moved or of one, has no difference to be held against.
        - It runs on the CPU, on copies, and in float64 unless dtype='as is'. Kernels for a GPU are not run. Neither are what
          `module.compile()` made and hooks that run after the accumulation in `.grad`; a module that has either does not pass.
        - Forward mode of a module that is probed is tried along one random direction of all points together, unless it is required.
    """
    if isinstance(order, int) and order == 2:
        full, low = coverage == "full", dtype == "as is"
        first_order_only(coverage=full, dtype=low, closed_form=closed_form, intended=intended, engines=engines)
    check_arguments(
        module,
        {"coverage": coverage, "order": order, "dtype": dtype, "forward": forward},
        seed=seed,
        tolerance=tolerance,
        closed_form=closed_form,
        engines=engines,
    )
    # What is made under inference_mode cannot be differentiated, nor can what is done there.
    with shown("checking every derivative"), torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        problem, own_precision = _problem(module, inputs, seed, dtype)
        elsewhere = (lambda: moved_first(module, inputs, problem, seed)) if order == 1 else None
        failed, later = check_behaviour(problem, seed, elsewhere)
        if failed:
            return _explained(problem, Certificate(tuple(failed)), order)
        if order == 2:
            return _second_order(Problem(module, inputs, seed=seed), inputs, Options(seed, forward=forward, tolerance=tolerance))
        stated = stated_jacobians(problem, closed_form, intended)
        options = Options(seed, stated, tuple(intended), engines or {}, forward, tolerance)
        certificate = _explained(problem, replace(_first_order(problem, coverage, options), tolerance=tolerance), order)
        as_is, seen = check_as_is(module, inputs, problem, seed) if dtype == "as is" and not own_precision else ([], own_precision)
        as_is += [check for check in later if check.parameter not in intended][:1] if certificate.passed else []
        if certificate.verdict != Verdict.FAIL:
            exact = tolerance is None and problem.dtype is torch.float64
            as_is += check_contract(problem, inputs) or check_left_out(module, problem)
            as_is += check_elsewhere(problem, intended) if exact and all(check.verdict == Verdict.PASS for check in as_is) else []
        return replace(
            certificate,
            checks=(*certificate.checks, *as_is),
            notes=(*certificate.notes, *seen, *written_out(inputs), *kept_inputs(problem)),
        )


def _problem(module: nn.Module, inputs: tuple[Any, ...], seed: int, dtype: str) -> tuple[Problem, list[str]]:
    """The module in float64; or, where it cannot be called so and is to be verified as it is, in its own precision, with a note."""
    try:
        return Problem(module, inputs, seed=seed), []
    except OwnPrecisionError:
        if dtype != "as is":
            raise
    problem = Problem(module, inputs, dtype=None, seed=seed)
    where = f"it is checked in {precision_name(problem.y.dtype)} alone, with the power that this leaves"
    return problem, [f"the module cannot be called in float64; {where}"]


def _explained(problem: Problem, certificate: Certificate, order: int) -> Certificate:
    """The same, with the submodule that a failure comes from, and its cause where it is a saved tensor that was overwritten, or the
    layout of a tensor."""
    if order == 1 and any(check.verdict == Verdict.FAIL and check.oracle not in WITNESSES for check in certificate.checks):
        certificate = replace(certificate, location=locate(problem, certificate.checks, problem.seed))
    why = overwritten(problem) or depends_on_layout(problem) if certificate.verdict == Verdict.FAIL else None
    if not why:
        return certificate
    checks = [
        check if check.verdict != Verdict.FAIL
        # What only says no says it of the same gradient, and knows no cause.
        else check.explained(Verdict.FAIL, Finding(why.reason, f"wrong derivative: {why.message}")) if check.worst_index is None
        else replace(check.because(f"; {why.message}"), reason=why.reason)
        for check in certificate.checks
    ]  # fmt: skip
    return replace(certificate, checks=tuple(checks))


def _first_order(problem: Problem, coverage: str, options: Options) -> Certificate:
    if coverage == "auto" and sum(point.numel() for point in problem.points.values()) > BUDGET:
        return _probed_certificate(problem, options)
    if isinstance(problem.module, Network):
        return _network_certificate(problem.module, problem, options)
    return _certificate(problem, options)


def _second_order(problem: Problem, inputs: tuple[Any, ...], options: Options) -> Certificate:
    """The certificate of the module whose output is the gradient, under the names of the module itself."""
    second = SecondOrder(problem, inputs, options.seed)
    failed, _ = check_behaviour(second, options.seed)
    if failed:
        why = second.raising()
        certificate = Certificate(tuple(check.because(f"; {why.message}") if why else check for check in failed))
    else:
        certificate = _certificate(second, options)
        if certificate.verdict != Verdict.FAIL:  # a fault by a parameter or an input tells more
            certificate = replace(certificate, checks=(*certificate.checks, *check_incoming(second)))
    what = "order=2 checks its derivatives and takes it as given itself; order=1 checks the gradient"
    note = f"G is the gradient Σ_m v_m ∂Y_m/∂p; {what}"
    return replace(certificate, notes=(*certificate.notes, note), tolerance=options.tolerance)


def _certificate(problem: Problem, options: Options) -> Certificate:
    """The module's own backward pass against everything else."""
    reverse, batched = oracles.reverse_mode(problem), oracles.batched_reverse(problem)
    judge = _judge(problem, reverse, options)
    failed = check_pullback(problem, reverse, judge.noise, options.seed, options.intended)
    small = sum(point.numel() for point in problem.points.values()) <= COMPLEX_BUDGET
    judgements = {
        name: judge.judged(
            name,
            {
                Method.REVERSE_MODE: reverse[name],
                Method.BATCHED_REVERSE: None if batched is None else batched[name],
                Method.FORWARD_MODE: oracles.forward_mode(problem, name),
                Method.COMPLEX_STEP: oracles.complex_step(problem, name) if small else None,
                Method.STATED_CLOSED_FORM: options.stated.get(name),
            },
        )
        for name in following(POINTS, problem.points)
    }
    return Certificate((*chain(*(j.checks for j in judgements.values())), *failed), notes=_notes(judgements))


def _network_certificate(network: Network, problem: Problem, options: Options) -> Certificate:
    """The closed form against everything else, and as a function against `gradcheck`."""
    closed, reverse = oracles.closed_form(network, problem), oracles.reverse_mode(problem)
    judge = _judge(problem, reverse, options)
    others = {name: engine_jacobians(problem, network, name, engine) for name, engine in options.engines.items()}
    judgements = {
        name: judge.judged(
            name,
            {
                Method.CLOSED_FORM: closed[name],
                Method.REVERSE_MODE: reverse[name],
                Method.FORWARD_MODE: oracles.forward_mode(problem, name),
                **{engine: None if found is None else found[name] for engine, found in others.items()},
                Method.STATED_CLOSED_FORM: options.stated.get(name),
            },
        )
        for name in following(POINTS, problem.points)
    }
    checks, function = [*chain(*(j.checks for j in judgements.values()))], check_function(network, problem)
    if any(check.reason is Reason.KINK for check in checks):
        # At a kink gradcheck sees the mean of two slopes, and calls it a mismatch.
        function = [replace(check, verdict=Verdict.INCONCLUSIVE) if check.verdict == Verdict.FAIL else check for check in function]
    written = formulas(network, problem.points["input"])
    known = {name: str(formula) for name, formula in written.items() if name in problem.points}
    return Certificate((*checks, *function), known, _notes(judgements))


def _judge(problem: Problem, reverse: Mapping[str, Tensor], options: Options) -> Judge:
    noise = gradient_floor(problem, reverse, options.seed)
    if options.tolerance is not None:
        # What an approximate gradient may be off by, another walk through its graph may be off by as well.
        noise = {n: rows.clamp(min=options.tolerance * largest(reverse[n]) / ROUNDING_SAFETY) for n, rows in noise.items()}
    return Judge(problem, output_floor(problem, options.seed), noise, options)


def _notes(judgements: Mapping[str, Judgement]) -> tuple[str, ...]:
    """What the module does not have, and which witnesses disagree."""
    missing = {
        d: [n for n, judgement in judgements.items() if d in judgement.missing]
        for d in (Method.FORWARD_MODE, Method.BATCHED_REVERSE)
    }
    return (*_absent(missing), *noted(doubt for judgement in judgements.values() for doubt in judgement.doubts))


def _absent(missing: Mapping[Method, list[str]]) -> list[str]:
    return [f"no {derivation} for {listed(names)}" for derivation, names in missing.items() if names]


def _probed_certificate(problem: Problem, options: Options) -> Certificate:
    """Random directions instead of every entry."""
    seed = options.seed
    alone = check_parameters_alone(problem)
    if alone:
        return Certificate(tuple(alone))
    floor = output_floor(problem, seed, FEW_PASSES)
    network = problem.module if isinstance(problem.module, Network) else None
    oracle = Method.REVERSE_MODE if network is None else Method.CLOSED_FORM
    closed = None if network is None else jacobians(network, problem.points["input"])
    prober = Prober(problem, floor, seed, closed, options.tolerance or 0.0)
    # From the output backwards, since of several gradients that are wrong the one nearest to the fault tells the most.
    parameters, inputs = ([n for n in problem.points if (n in problem.parameters) is yes] for yes in (True, False))
    looked_at = [name for name in (*reversed(parameters), *inputs) if name not in options.intended]
    found = {name: check_by_probes(prober, name, oracle, seed) for name in following(POINTS, looked_at)}
    chosen = [name for name in problem.points if name in found]
    checks = tuple(found[name] for name in chosen)
    if any(check.verdict != Verdict.PASS for check in checks):
        return Certificate(checks)
    exact = [declared(name, oracle) for name in options.intended if name in problem.points and name not in options.stated]
    if network is None:
        forward = forward_of_module(prober, chosen, oracle, options.forward)
    else:
        exact += [check_closed_form(prober, name) for name in chosen]
        forward = forward_of_closed_form(prober, chosen, options.forward)
        exact += check_function(network, problem)
    exact += forward.checks
    exact += [check_stated(prober, name, oracle, jacobian) for name, jacobian in options.stated.items()]
    note = f"more than {BUDGET:,} numbers, so probed at random"
    if checks:
        least = max(checks, key=lambda check: check.detects or 0.0)
        note += f"; least sure of {least.parameter}: {least.message}"
    notes = (note, *_absent({Method.FORWARD_MODE: forward.missing}), *noted(forward.doubts))
    written = {} if network is None else formulas(network, problem.points["input"])
    return Certificate((*checks, *exact), {name: str(formula) for name, formula in written.items()}, notes)
