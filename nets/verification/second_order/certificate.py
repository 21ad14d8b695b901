"""The certificate of the gradient of the gradient: G against its own derivatives, and of a `Network` against reverse
mode."""

from dataclasses import replace

import torch
from torch import Tensor

from nets.records.certificate import Certificate
from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.verification.compare.judgement import Options
from nets.verification.derivations.by_layers import network_of
from nets.verification.derivations.reverse_mode import reverse_mode
from nets.verification.entrywise import module_certificate
from nets.verification.problem.outputs import EntryIndex
from nets.verification.problem.pytree import largest
from nets.verification.second_order.gradient_module import SecondOrder

SAME_GRADIENT, SAME_GRADIENT_OF_ALL = 1e-9, 1e-13
"""Two gradients are the same if they differ by less than these parts of the largest entry by the same point, and of the
largest entry of all."""


def second_order_certificate(second: SecondOrder, options: Options) -> Certificate:
    """Compare the derivatives of the gradient G with every other derivation.

    For a `Network`, G and its derivatives follow from the layers' closed form, and are compared with those by reverse
    mode of the forward.
    """
    if network_of(second.first) is None:
        return module_certificate(second, options)
    gradient, derivatives = second.y, reverse_mode(second)
    with second.by_autograd():
        wrong = _wrong_gradients(second, gradient)
        second.seeks_causes = not wrong
        certificate = module_certificate(second, options, derivatives)
    return replace(certificate, checks=(*wrong, *certificate.checks))


def _wrong_gradients(second: SecondOrder, closed: Tensor) -> list[Check]:
    """A failed check for each point by which the closed form of G, shape (M,), is wrong; for 'all' together where G
    consists of sums over all points."""
    found = []
    for rows in second.outputs.rows:
        actual, expected = closed[rows], second.y[rows]
        tolerance = torch.tensor(
            max(SAME_GRADIENT * largest(expected), SAME_GRADIENT_OF_ALL * largest(second.y)), dtype=expected.dtype
        )
        error = (actual - expected).abs().nan_to_num(nan=torch.inf)
        if largest(error) <= tolerance:
            continue
        key, index = second.outputs.index(rows.start + int(error.argmax()))
        check = Check.from_errors(
            key[0] if key else "all",
            Method.CLOSED_FORM,
            Method.REVERSE_MODE,
            actual,
            expected,
            tolerance,
            Verdict.FAIL,
            Reason.WRONG_DERIVATIVE.because(),
            detects=None,
            **EntryIndex((), (), index, "(Σ_m v_m Y_m)").fields(),
        )
        found.append(check)
    return found
