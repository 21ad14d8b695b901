"""Points so near the edge of a module's domain that no difference can be taken: log of a negative neighbour, 0 to the power −h."""

import torch

from nets.errors import InputError
from nets.records.reason import Finding, Reason
from nets.text import indexed, told_apart
from nets.verification.problem.problem import Problem

NEAREST = 2.0**-44
"""The smallest step that differences try, in units of one and of the number that is moved."""

STEPS = tuple(sign * size for size in (NEAREST, 2.0**-34, 2.0**-24, 2.0**-14) for sign in (-1, 1))
"""The steps at which an edge is looked for, the smallest first: the point may lie inside the domain, and each wider step across."""

HUGE = 1e150
"""An output of this size may overflow nearby; a smaller one that is infinite nearby has a pole there."""


def edge(problem: Problem, name: str, entry: int) -> Finding:
    """Why differences along one number of a point are not finite: where the module stops being defined, or overflows."""
    point = problem.points[name].view(-1)
    here = float(point[entry])
    what = f"{name}{indexed(problem.point_index(name, entry))}"
    for step in STEPS:
        there = here + step * max(abs(here), 1.0)
        outputs = _outputs_at(problem, point, entry, there)
        # The point itself with all of its digits, since 1 - 1e-12 is not the edge that 1 is.
        where = f"where {what} is {told_apart(there, here)[0]} instead of {here!r}"
        if outputs is None:
            return Reason.EDGE_OF_THE_DOMAIN.because(what=f"the module cannot be called {where}")
        bad = (~torch.isfinite(outputs)).nonzero()
        if len(bad):
            row = int(bad[0])
            what = f"{problem.outputs.name(row)} is {float(outputs[row])} {where}"
            if abs(float(problem.y[row])) > HUGE:
                return Reason.OVERFLOW.because(what=f"{what}; move the point")
            return Reason.EDGE_OF_THE_DOMAIN.because(what=what)
    return Reason.OVERFLOW.because(what="the differences of the outputs are not finite at any step; move the point")


def _outputs_at(problem: Problem, point: torch.Tensor, entry: int, value: float) -> torch.Tensor | None:
    """Y where one number of a flattened point has another value; None where the module raises."""
    here = point[entry].clone()
    try:
        point[entry] = value
        return problem.evaluate()
    except InputError:
        return None
    finally:
        point[entry] = here
