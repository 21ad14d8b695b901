"""Is every derivative of this module right, at this point?"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.checks import checked_trace
from nets.calculus.layer import Layer
from nets.calculus.network import Network
from nets.calculus.repeated_call import nothing
from nets.errors import InputError
from nets.records.certificate import Certificate
from nets.records.check import Check
from nets.records.method import WITNESSES, Method
from nets.records.reason import Finding, Reason
from nets.records.verdict import Verdict
from nets.text import listed, precision_name
from nets.verification.arguments import check_arguments, first_order_only
from nets.verification.checks.kept_state import CalledElsewhereFirst
from nets.verification.checks.not_copied import check_left_out
from nets.verification.checks.overrides import check_overrides
from nets.verification.checks.precision import check_as_is
from nets.verification.checks.preconditions import check_preconditions
from nets.verification.compare.findings import Forward
from nets.verification.compare.judgement import Options
from nets.verification.contract.check import check_contract
from nets.verification.contract.elsewhere import check_elsewhere
from nets.verification.contract.later_writes import unsaved_inputs_note
from nets.verification.contract.layouts import depends_on_layout
from nets.verification.contract.saved import overwritten_tensor
from nets.verification.derivations.user_jacobian import GivenEngine, StatedDerivation, user_jacobians
from nets.verification.entrywise import entrywise_certificate
from nets.verification.probed import probed_certificate
from nets.verification.probing.submodules import locate, locate_in_network
from nets.verification.problem.calling.errors import OwnPrecisionError, layer_error
from nets.verification.problem.problem import Problem
from nets.verification.problem.strides import expanded_inputs_note
from nets.verification.progress import shown
from nets.verification.second_order.certificate import second_order_certificate
from nets.verification.second_order.gradient_module import SecondOrder
from nets.verification.second_order.incoming_gradient import check_incoming

MOST_ENTRYWISE_NUMBERS = 5_000
"""The most numbers in parameters and inputs for which coverage='auto' checks every entry."""


def verify(
    module: nn.Module,
    *inputs: Any,
    coverage: str = "auto",
    seed: int = 0,
    order: int = 1,
    dtype: str = "float64",
    closed_form: StatedDerivation | None = None,
    intended: tuple[str, ...] = (),
    engines: Mapping[str, GivenEngine] | None = None,
    forward: Forward = "optional",
    tolerance: float | None = None,
) -> Certificate:
    """Check ∂Y/∂θ of every parameter and ∂Y/∂X, entry by entry, in float64 on copies.

    The closed form of a `Network` is judged, and the backward pass of any other module. It is compared with reverse
    mode, forward mode, reverse mode under vmap, the complex step and central differences, as far as the module has
    them. If there are three or more derivations and one disagrees with all others, the certificate names it.

    Other methods that a layer of a `Network` overrides, such as `pushforward` or `sample_norms`, are held against what
    follows from its `pullback` and `gradients` (see `nets.verification.checks.overrides`).

    Args:
        module: what to verify. It is copied to the CPU. Its parameters, `.grad`, buffers and mode, and the global
            random state stay as they are.
        inputs: its arguments: tensors, or nested lists, tuples and dicts of them. A few samples are enough, since every
            entry is checked for each. The derivative is taken by all floating-point inputs, or by those that require a
            gradient, if some do.
        coverage: 'full' to check every entry; 'auto' to do so for at most MOST_ENTRYWISE_NUMBERS (5,000) numbers in
            parameters and inputs, and to probe larger modules (see `nets.verification.probing.coverage`). The
            certificate then states with what probability it would have seen a fault.
        seed: of the module's own random numbers and of every random choice made here.
        order: 1 for the gradient; 2 for the gradient of the gradient. Then the module that is checked has the output
            G_p = Σ_m v_m ∂Y_m/∂p, for every parameter and input p and a random v. G is differentiated by v as well.
            For a `Network`, G is computed by its closed form; G and its derivatives are compared with reverse mode.
        dtype: 'float64', or 'as is' to check also the module in its own precision, against its copy in float64.
        closed_form: `closed_form(module, *inputs)` → {name: ∂Y/∂name of shape (*Y.shape, *parameter.shape)}, your own
            derivation.
        intended: names whose gradient is meant to differ from the derivative, such as that of a straight-through
            estimator. It is compared with `closed_form` if that states it. Otherwise it is not checked, and the
            certificate says so.
        engines: further derivations of a `Network`, such as `nets.verification.derivations.engines.available()`.
        forward: 'optional' for a module whose forward mode is not used: if it is missing or wrong, a note says so.
            'required' if it is used: then that is a failure.
        tolerance: the error that is allowed in an entry of a gradient that is meant to be approximate, such as a
            continuous adjoint or one with a guard of 1e-12 in a denominator. In parts of the largest entry of its
            Jacobian (by probes, of the gradient of a random sum of the outputs), above 0 and below 1. The sentence
            states it. None allows rounding alone.

    Returns:
        A Certificate. It has `.passed` only if every check is a pass.

    Raises:
        InputError: if the module cannot be copied or called, or there is nothing to differentiate.

    Limitations:
        - A pass holds at these inputs and these parameters. A branch that is not taken there is not checked.
        - Size of a fault. A check passes only if it would have seen a wrong scale of 1e-3. The sentence says what it
          would have seen. Measured: an error of a scale or of one entry of 3e-9 of the largest in small networks of
          tanh, LayerNorm, GELU or attention, 1e-11 in a convolution with ReLU, and 4e-8 to 3e-7 by probes in networks
          of 64-256-10 and 784-300-10. A smaller fault passes, unless two exact derivations agree with each other and
          contradict it. If only forward mode or the complex step contradicts it, there is a note.
        - Above 5,000 numbers in parameters and inputs (coverage='auto') entries are probed. Measured: one zeroed entry,
          or one zeroed or flipped row, of the gradient of a random sum of the outputs is seen with a probability above
          0.9999 in 64-256-10 with tanh, and of 0.947 in 784-300-10 with ReLU, where most of the other entries are zero
          anyway. A fault that this random sum cancels is not seen.
        - Kinks. In each parameter or input, a kink is looked for at 32 numbers at which the two slopes differ by more
          than a hundredth, and at 16 at which they differ by less. A fainter kink among more curves than that may be
          missed.
        - A gradient that is zero at this point passes with an absolute bound of at most 1e-6 of the slopes nearby. A
          backward that gives zero by mistake for a smaller gradient is not seen.
        - An output that turns within the smallest step, 2⁻⁴⁴ of the number that is moved or of one, cannot be checked.
        - A `local_jacobian` or `backward_gain` that a layer overrides is checked if ∂Y/∂X of one sample has 2²⁰ entries
          at most, and no override at order=2.
        - The module runs on the CPU, as a copy, and in float64 unless dtype='as is'. Kernels for a GPU are not run. Nor
          are the compiled form of `module.compile()` and hooks that run after the accumulation in `.grad`: a module
          that has either does not pass.
        - If a module is probed, its forward mode is tried along one random direction of all points together, unless it
          is required.
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
    if isinstance(module, Layer) and not isinstance(module, Network):
        # A layer has a closed form of its own, which is checked in a network of this one layer.
        module = Network([module])
    # A tensor that is made under inference_mode has no graph.
    with (
        shown("checking every derivative"),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.random.fork_rng(devices=[]),
    ):
        torch.default_generator.manual_seed(seed)
        problem, own_precision = _problem(module, inputs, seed, dtype)
        if isinstance(module, Network):
            _expect_fit(problem)
        again = partial(CalledElsewhereFirst, module, inputs, dtype=problem.dtype, seed=seed)
        preconditions = check_preconditions(problem, again if order == 1 else None)
        if preconditions.fatal:
            return _explained(problem, Certificate(tuple(preconditions.fatal)), order)
        if order == 2:
            return _second_order(
                Problem(module, inputs, seed=seed), inputs, Options(forward=forward, tolerance=tolerance)
            )
        options = Options(
            user_jacobians(problem, closed_form, intended), tuple(intended), engines or {}, forward, tolerance
        )
        certificate = replace(_first_order(problem, coverage, options), tolerance=tolerance)
        certificate = _explained(problem, certificate, order)
        as_is, notes = list[Check](), own_precision
        if dtype == "as is" and not own_precision:
            as_is, notes = check_as_is(module, inputs, problem)
        deferred = [check for check in preconditions.deferred if check.parameter not in intended]
        further = as_is + (deferred[:1] if certificate.passed else [])
        if certificate.verdict != Verdict.FAIL and isinstance(module, Network):
            overridden, location = check_overrides(problem)
            certificate = replace(certificate, location=location, checks=(*certificate.checks, *overridden))
        if certificate.verdict != Verdict.FAIL:
            further += check_contract(problem, inputs) or check_left_out(module, problem)
            # It is compared with differences, which no approximate gradient agrees with.
            exact = tolerance is None and problem.dtype is torch.float64
            if exact and all(check.verdict == Verdict.PASS for check in further):
                further += check_elsewhere(problem, intended)
        return replace(
            certificate,
            checks=(*certificate.checks, *further),
            notes=(
                *certificate.notes,
                *notes,
                *expanded_inputs_note(inputs),
                *unsaved_inputs_note(problem),
                *_unused_layers(module),
            ),
        )


def _expect_fit(problem: Problem) -> None:
    """InputError for an input that is no batch, and for a layer that changes a buffer which its next call reads, since
    its copy is held."""

    def traced(network: Network, x: Tensor) -> list[Tensor]:
        network.check(x)
        return checked_trace(network, x, nothing)

    with problem.same_draws():
        problem.call_with(traced)


def _unused_layers(module: nn.Module) -> list[str]:
    """A note if a module that autograd differentiates contains layers with a closed form."""
    if isinstance(module, Network):
        return []
    unused = [f"{name} ({type(inner).__name__})" for name, inner in module.named_modules() if isinstance(inner, Layer)]
    words = "autograd differentiates this module, so the pullback and the gradients of {} are not checked: verify {}"
    return [words.format(listed(unused), "nets.Network.from_torch(module), or the layer alone")] if unused else []


def _problem(module: nn.Module, inputs: tuple[Any, ...], seed: int, dtype: str) -> tuple[Problem, list[str]]:
    """The module in float64; or in its own precision, with a note, if it cannot be called in float64 and dtype is 'as
    is'."""
    try:
        return Problem(module, inputs, seed=seed), []
    except OwnPrecisionError:
        if dtype != "as is":
            raise
    except InputError as error:
        raise layer_error(module, inputs, torch.float64) or error from error
    problem = Problem(module, inputs, dtype=None, seed=seed)
    where = f"it is checked in {precision_name(problem.y.dtype)} alone, with the power that this leaves"
    return problem, [f"the module cannot be called in float64; {where}"]


def _first_order(problem: Problem, coverage: str, options: Options) -> Certificate:
    """The certificate of the Jacobians: by probes if there are too many entries, else by each entry."""
    size = sum(point.numel() for point in problem.points.values())
    if coverage == "auto" and size > MOST_ENTRYWISE_NUMBERS:
        return probed_certificate(
            problem, options, f"more than {MOST_ENTRYWISE_NUMBERS:,} numbers, so probed at random"
        )
    return entrywise_certificate(problem, options)


def _second_order(problem: Problem, inputs: tuple[Any, ...], options: Options) -> Certificate:
    """The certificate of the module whose output is the gradient, under the parameter names of the module itself."""
    second = SecondOrder(problem, inputs, problem.seed)
    failed = check_preconditions(second).fatal
    if failed:
        why = second.raising()
        certificate = Certificate(tuple(check.because(f"; {why.message}") if why else check for check in failed))
    else:
        certificate = second_order_certificate(second, options)
        if certificate.verdict != Verdict.FAIL:  # a fault by a parameter or an input says more
            certificate = replace(certificate, checks=(*certificate.checks, *check_incoming(second)))
    what = "order=2 checks the derivatives of G and not G itself; order=1 checks the gradient"
    if isinstance(problem.module, Network):
        what = "order=2 holds the closed form of G and of its derivatives against reverse mode"
        if certificate.verdict == Verdict.FAIL:
            certificate = replace(certificate, location=locate_in_network(problem, certificate.checks))
    note = f"G is the gradient Σ_m v_m ∂Y_m/∂p; {what}"
    return replace(certificate, notes=(*certificate.notes, note), tolerance=options.tolerance)


def _explained(problem: Problem, certificate: Certificate, order: int) -> Certificate:
    """The same, with the submodule that a failure comes from, and with its cause if that is a saved tensor that was
    overwritten or the layout of a tensor."""
    failed = [check for check in certificate.checks if check.verdict == Verdict.FAIL]
    if order == 1 and any(check.oracle not in WITNESSES for check in failed):
        certificate = replace(certificate, location=locate(problem, certificate.checks))
        if certificate.location is not None and certificate.location.order == 2:
            certificate = replace(certificate, checks=tuple(map(_not_twice, certificate.checks)))
    found = (overwritten_tensor(problem) or depends_on_layout(problem)) if failed else None
    if found is None:
        return certificate
    return replace(certificate, checks=tuple(_caused(check, found) for check in certificate.checks))


def _not_twice(check: Check) -> Check:
    """The objection of gradgradcheck with its cause: the numbers of a layer are right, and their derivative is not."""
    if check.verdict != Verdict.FAIL or check.against != Method.GRADGRADCHECK:
        return check
    return check.explained(Verdict.FAIL, Reason.NOT_DIFFERENTIABLE_TWICE.because(objection=check.message))


def _caused(check: Check, found: Finding) -> Check:
    """The check with the cause of its failure."""
    if check.verdict != Verdict.FAIL:
        return check
    if check.worst_index is None:
        # A check without an entry is about the same gradient, and its own reason is a consequence of the cause.
        return check.explained(Verdict.FAIL, Finding(found.reason, f"wrong derivative: {found.message}"))
    return replace(check.because(f"; {found.message}"), reason=found.reason)
