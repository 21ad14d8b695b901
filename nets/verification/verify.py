"""Is every derivative of this module right, at this point?"""

import torch
from torch import Tensor, nn

from nets.calculus.formulas import formulas
from nets.calculus.network import Network
from nets.verification.certificate import Certificate, Check
from nets.verification.comparison import compare
from nets.verification.difference import best_step, central_difference, is_constant
from nets.verification.gradcheck import check_function
from nets.verification.oracles import closed_form, forward_mode, reverse_mode
from nets.verification.problem import Problem
from nets.verification.rounding import gradient_floor, output_floor

ROUNDING_SAFETY = 32.0
"""Two derivations without truncation error agree to a few units of the rounding noise; an entry off by 32 of them is wrong."""


def verify(module: nn.Module, *inputs: Tensor, seed: int = 0) -> Certificate:
    """Check ∂Y/∂θ of every parameter, and ∂Y/∂X, entry by entry, in float64 on copies.

    For a `Network` the closed form is held against reverse mode, forward mode and central differences, and its
    `torch.autograd.Function` against `gradcheck` and `gradgradcheck`. For another module, reverse mode is held against the others.

    Args:
        module: what to verify; it is copied and left as it is.
        inputs: X, shape (N, …). A few samples are enough, since every entry is checked for each.
        seed: of the random directions on which rounding noise and step size are measured.

    Raises:
        InputError: if the module cannot be called at X, or X cannot be differentiated by.
    """
    (x,) = inputs
    problem = Problem(module, x)
    subject = ("closed form", closed_form) if isinstance(module, Network) else ("reverse mode", reverse_mode)
    reverse = {name: reverse_mode(problem, name) for name in problem.points}
    floor = output_floor(problem, seed)
    noise = gradient_floor(problem, reverse, seed)
    checks: list[Check] = []
    for name in problem.points:
        actual = (subject[0], subject[1](problem, name))
        explained = torch.tensor(ROUNDING_SAFETY * noise[name], dtype=torch.float64)
        constant = is_constant(problem, name, floor, seed)
        if isinstance(module, Network):
            checks.append(compare(problem, name, actual, ("reverse mode", reverse[name]), explained, constant))
        forward = forward_mode(problem, name)
        checks.append(compare(problem, name, actual, ("forward mode", forward), explained, constant))
        checks.append(_against_difference(problem, name, actual, floor, constant, seed))
    if isinstance(problem.module, Network):
        checks += check_function(problem)
        return Certificate(tuple(checks), formulas(problem.module))
    return Certificate(tuple(checks), {})


def _against_difference(
    problem: Problem, name: str, actual: tuple[str, Tensor], floor: Tensor, constant: bool, seed: int
) -> Check:
    """A wrong derivative is off at every step; a truncation error that was underestimated is 4,096 times smaller at h/8."""
    step = best_step(problem, name, floor, seed)
    for h in (step, step / 8):
        difference = central_difference(problem, name, floor, h)
        check = compare(
            problem, name, actual, ("central difference", difference.jacobian), difference.tolerance, constant
        )
        if check.verdict != "fail":
            break
    return check
