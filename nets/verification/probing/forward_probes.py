"""Forward mode of a module that is too large for every entry: ∂Y/∂t along random directions t, against the gradient
times t.

One call moves all points together, each along a direction that is scaled so that all of them contribute alike. Each
point gets a call of its own only if that call disagrees, or if forward mode is required.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.verification.compare.findings import Doubt, Forward, Judgement
from nets.verification.derivations.forward_mode import forward_along, forward_together
from nets.verification.noise.rounding import ROUNDING_SAFETY
from nets.verification.probing.prober import Prober
from nets.verification.problem.randomness import signed, stream

PUSHFORWARD_DIRECTIONS = 4
"""The number of random directions of each point along which the pushforward of a closed form is compared with forward
mode."""


def forward_of_module(prober: Prober, names: Sequence[str], oracle: str, forward: Forward) -> Judgement:
    """Compare the gradient of vᵀY times random directions with forward mode along them.

    Args:
        prober: the gradient.
        names: the points whose gradients differences do not contradict.
        oracle: the derivation that gave that gradient.
        forward: 'required' if a missing or wrong forward mode must not pass.
    """
    found, generator = Judgement(), stream(prober.problem.seed, "directions of forward mode")
    directions = {name: _direction(prober, name, generator) for name in names}
    if not names:
        return found
    if forward == "optional":
        tangent = forward_together(prober.problem, directions)
        if tangent is None:
            return Judgement(missing=[(Method.FORWARD_MODE, name) for name in names])
        check = _held(prober, "all", directions, tangent, oracle)
        if check.verdict == Verdict.PASS:
            return Judgement([check])
    for name, t in directions.items():
        slopes = forward_along(prober.problem, name, t.reshape(1, *prober.problem.points[name].shape))
        if slopes is None:
            found.add_missing_forward_mode(prober.problem, name, forward)
            continue
        check = _held(prober, name, {name: t}, slopes[:, 0], oracle)
        if check.verdict == Verdict.PASS or forward == "required":
            found.checks.append(check)
        else:
            probe = prober.measured(name, slice(0, len(t)), t)
            refuted = not abs(probe.expected - (check.expected or 0.0)) <= probe.tolerance
            found.doubts.append(Doubt(check, refuted, f"a random direction of {name}"))
    return found


def forward_of_closed_form(prober: Prober, names: Iterable[str], forward: Forward) -> Judgement:
    """∂Y/∂t by the closed form against forward mode, along random directions t of each point."""
    assert prober.closed is not None
    found = Judgement()
    for name in names:
        point, jacobian = prober.problem.points[name], prober.closed[name]
        directions = torch.stack(
            [prober.weights(point.numel()).reshape(point.shape) for _ in range(PUSHFORWARD_DIRECTIONS)]
        )
        slopes = forward_along(prober.problem, name, directions)
        if slopes is None:
            found.add_missing_forward_mode(prober.problem, name, forward)
            continue
        ours = torch.stack([jacobian.jvp(t).reshape(-1) for t in directions], 1)
        # A sum of P rounding errors of random sign is about √P times as large as one of them.
        tolerance = ROUNDING_SAFETY * float(slopes.abs().max()) * point.numel() ** 0.5 * 2.0**-53
        error = (ours - slopes).abs().nan_to_num_(nan=torch.inf)
        off, worst = int((error > tolerance).sum()), int(error.argmax())
        seen = Reason.SLOPES_ALONG.because(directions=PUSHFORWARD_DIRECTIONS, off=off, slopes=slopes.numel())
        verdict = Verdict.FAIL if off else Verdict.PASS
        check = Check.without_entry(
            name, Method.CLOSED_FORM, Method.FORWARD_MODE, verdict, seen, entries=slopes.numel()
        )
        check = replace(check, wrong=off, actual=float(ours.view(-1)[worst]), expected=float(slopes.reshape(-1)[worst]))
        # The pullback agrees with differences, and v·(J t) = (vᵀJ)·t then confirms the pushforward.
        apart = (prober.v @ ours - directions.reshape(PUSHFORWARD_DIRECTIONS, -1) @ prober.gradient[name]).abs()
        if off and forward == "optional" and bool((apart <= tolerance * len(prober.v) ** 0.5).all()):
            found.doubts.append(Doubt(check, True, f"a random direction of {name}"))
        else:
            found.checks.append(check)
    return found


def _held(prober: Prober, name: str, directions: Mapping[str, Tensor], tangent: Tensor, oracle: str) -> Check:
    """Σ_p G_p·t_p by the gradient of vᵀY against v·(∂Y/∂t) by forward mode."""
    actual = sum(float(prober.gradient[point] @ t) for point, t in directions.items())
    expected = float(prober.v @ tangent)
    # Sums of rounding errors of random sign are about as large as the length of the vector of them.
    rounding = [float(torch.linalg.vector_norm(prober.rounding[point] * t)) for point, t in directions.items()]
    sizes = [float(torch.linalg.vector_norm(prober.gradient[point] * t)) for point, t in directions.items()]
    carried = float(torch.linalg.vector_norm(prober.v * tangent))
    off = not abs(actual - expected) <= ROUNDING_SAFETY * (sum(rounding) + (sum(sizes) + carried) * 2.0**-52)
    seen = Reason.ONE_DIRECTION.because(of=" of all parameters and inputs together" if len(directions) > 1 else "")
    verdict = Verdict.FAIL if off else Verdict.PASS
    check = Check.without_entry(name, oracle, Method.FORWARD_MODE, verdict, seen, entries=1)
    return replace(check, wrong=int(off), actual=actual, expected=expected)


def _direction(prober: Prober, name: str, generator: torch.Generator) -> Tensor:
    """Random signs and sizes, scaled so that the slope along them is about one."""
    gradient = prober.gradient[name]
    size = float(torch.linalg.vector_norm(gradient))
    t = signed(len(gradient), generator)
    return t / size if size > 0 else t / len(t) ** 0.5
