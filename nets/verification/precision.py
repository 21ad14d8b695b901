"""A module in the precision that it has: its backward pass against that of its copy in float64, in units in the last place."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nets.verification.behaviour import check_behaviour
from nets.verification.certificate import Check
from nets.verification.comparison import POWER, Derivation, compare
from nets.verification.oracles import reverse_mode
from nets.verification.problem import Problem
from nets.verification.rounding import FEW, ROUNDING_SAFETY, output_floor, unit_roundoff
from nets.verification.row_noise import gradient_floor

SAFETY = 8.0
"""Units of rounding noise, as stochastic arithmetic in the module's own precision would show it, by which a gradient may be off."""


def check_as_is(module: nn.Module, inputs: tuple[Any, ...], double: Problem, seed: int) -> list[Check]:
    """∂Y/∂p of the module as it stands against ∂Y/∂p of `double`, its copy in float64, entry by entry.

    A verdict is given where a fault of 128 unit roundoffs would have been seen: a half in bfloat16, 6 % in float16, and in
    float32 the thousandth that is asked for in float64. The formula itself is proved by the other checks; what these find is
    what the precision does to it. What it may do is measured on the copy, with results moved as the module's precision rounds
    them: a backward that loses more than that does not excuse itself. Only a module whose output loses more, since it computes in
    less precision than it has, is measured as it runs.
    """
    low = Problem(module, inputs, dtype=None, seed=seed)
    failed, _ = check_behaviour(low, seed)
    if failed:
        return failed
    actual, expected = reverse_mode(low), reverse_mode(double)
    noise, exact_noise = _noise(low, double, actual, expected, seed), gradient_floor(double, expected, seed)
    checks = []
    for name, point in low.points.items():
        precision = str(point.dtype).removeprefix("torch.")
        unit = unit_roundoff(point.dtype)
        tolerance = SAFETY * noise[name].to(torch.float64)
        ours = Derivation(f"reverse mode in {precision}", actual[name].to(torch.float64), tolerance)
        reference = Derivation("reverse mode in float64", expected[name], tolerance)
        # What is nothing but noise in float64 is truly zero, such as the gradient of a bias before a normalization.
        zero = bool((expected[name].abs() <= ROUNDING_SAFETY * exact_noise[name]).all())
        check = compare(low, name, ours, reference, constant=zero, power=max(POWER, 128 * unit))
        scale = float(expected[name].abs().max())
        place = 2 * unit * 2.0 ** math.floor(math.log2(scale)) if scale > 0 else math.inf
        checks.append(replace(check, ulp=(check.max_abs_error or 0.0) / place))
    return checks


def _noise(
    low: Problem, double: Problem, actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """What the module's precision may do to each row of ∂Y/∂point, for each point; shape (M, 1)."""
    eps = max(torch.finfo(tensor.dtype).eps for tensor in (*low.points.values(), low.y))
    noise = gradient_floor(double, expected, seed, eps)
    if ((low.y - double.y).abs() <= SAFETY * output_floor(double, seed, FEW, eps)).all():
        return noise
    own = gradient_floor(low, actual, seed)
    return {name: torch.maximum(noise[name], own[name].to(torch.float64)) for name in noise}
