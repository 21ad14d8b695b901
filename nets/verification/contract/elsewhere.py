"""The gradient must be right at other points as well, to which the module is called after this one.

What a `Function` keeps from its very first call, on its class, in a global dict or in a cache by the shape of its input, is right
at the point of that call and nowhere else. Every other look at the gradient is taken at that point.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from nets.verification.backward import pull_back
from nets.verification.certificate import Check
from nets.verification.leaves import largest
from nets.verification.oracles import quiet
from nets.verification.problem import Problem
from nets.verification.randomness import signed, stream
from nets.verification.slopes import SAFETY
from nets.verification.wording import told_apart

STEPS = (2.0**-10, 2.0**-13, 2.0**-16)
"""In units of the largest number of a point. Each is an eighth of the one before."""

VISIBLE = 1e-3
"""The part of the slope by which the gradient must be off."""


def check_elsewhere(problem: Problem, intended: Collection[str] = ()) -> list[Check]:
    """A failed check where the gradient is wrong at a point at which every number is up to a tenth larger; none if it is right.

    It is held against one difference along a random direction of all points together, Σ_p G_p·t_p, so that only faults of a
    thousandth are seen; where the point lies near a kink, or the differences do not settle, nothing is said.
    """
    names = [name for name in problem.points if name not in intended]
    try:
        with quiet(), _moved(problem):
            y, leaves = problem.record()
            gradients = pull_back(y, problem.cotangent, leaves)
            off = _off(problem, names, gradients)
            if off is None:
                return []
            alone = ((name, _off(problem, [name], gradients)) for name in names)
            name, (told, slope) = next(((n, found) for n, found in alone if found is not None), ("all", off))
    except Exception:  # the module does not take the other point, or has no graph there
        return []
    gives, right = told_apart(told, slope)
    what = "all points" if name == "all" else name
    reason = (
        f"wrong derivative at another point, where the module is called later: along a random direction of {what} the gradient "
        f"gives {gives} where differences give {right}; it looks like something that the backward pass needs is kept from an "
        "earlier call, on the class, globally or in a cache, and not on ctx"
    )
    return [Check.plain(name, "reverse mode", "itself", 0, "fail", reason)]


def _off(problem: Problem, names: list[str], gradients: Mapping[str, Tensor]) -> tuple[float, float] | None:
    """Σ_p G_p·t_p by the gradient and by differences, where they differ; None where they do not, or nothing is known."""
    ways = {name: _way(problem, name) for name in names}
    told = sum(float((gradients[name] * way).sum()) for name, way in ways.items())
    here = {name: problem.points[name].clone() for name in names}
    values = {}
    for step in (0.0, *STEPS, *(-step for step in STEPS)):
        for name, way in ways.items():
            problem.points[name].copy_(here[name] + step * way)
        values[step] = problem.evaluate()
    for name in names:
        problem.points[name].copy_(here[name])
    slopes = [float(problem.cotangent @ (values[h] - values[-h])) / (2 * h) for h in STEPS]
    gaps = [abs(float(problem.cotangent @ (values[h] - 2 * values[0.0] + values[-h]))) / h for h in STEPS]
    noise = 64 * torch.finfo(values[0.0].dtype).eps * float(problem.cotangent.abs() @ values[0.0].abs()) / STEPS[-1]
    # Each is off by h² times what all have in common.
    wide, narrow = ((64 * fine - coarse) / 63 for coarse, fine in pairwise(slopes))
    bent = gaps[-1] > gaps[-2] / 2 + noise  # of a smooth function an eighth is left
    bar = SAFETY * abs(wide - narrow) + noise + VISIBLE * max(abs(told), abs(narrow))
    return (told, narrow) if not bent and abs(told - narrow) > bar else None


def _way(problem: Problem, name: str) -> Tensor:
    """A random direction, of the size of the point."""
    point = problem.points[name]
    t = signed(point.numel(), stream(problem.seed, "direction elsewhere", name)).to(point.dtype).view(point.shape)
    return t * (largest(point) or 1.0)


@contextmanager
def _moved(problem: Problem) -> Iterator[None]:
    """Meanwhile every number of every point is up to a tenth larger."""
    here = {name: point.clone() for name, point in problem.points.items()}
    try:
        for name, point in problem.points.items():
            point.mul_(1 + 0.1 * torch.rand(point.shape, generator=stream(problem.seed, "elsewhere", name), dtype=torch.float64))
        yield
    finally:
        for name, point in problem.points.items():
            point.copy_(here[name])
