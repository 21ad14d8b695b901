"""Points so near the edge of a module's domain that no difference can be computed, such as log at the smallest positive
number."""

import torch
from torch import Tensor

from nets.errors import InputError
from nets.records.reason import Finding, Reason
from nets.text import distinct_digits, index_text
from nets.verification.problem.problem import Problem

SMALLEST_STEP = 2.0**-44
"""The smallest step of differences, in units of 1 and of the number that is moved."""

EDGE_STEPS = tuple(sign * size for size in (SMALLEST_STEP, 2.0**-34, 2.0**-24, 2.0**-14) for sign in (-1, 1))
"""Steps at which an edge of the domain is searched, the smallest first: the point may be inside, and larger steps
outside."""

HUGE = 1e150
"""If an output is infinite nearby, it is an overflow if the output here is larger than this, and a pole if it is
smaller."""


def edge(problem: Problem, name: str, entry: int) -> Finding:
    """Why differences along one number of a point are not finite: the module is not defined there, or overflows."""
    point = problem.points[name].view(-1)
    here = float(point[entry])
    what = f"{name}{index_text(problem.point_index(name, entry))}"
    for step in EDGE_STEPS:
        there = here + step * max(abs(here), 1.0)
        outputs = _outputs_at(problem, point, entry, there)
        # The point is written with all digits: the edge may be at 1, and the point 1 − 1e-12.
        where = f"where {what} is {distinct_digits(there, here)[0]} instead of {here!r}"
        if outputs is None:
            return Reason.EDGE_OF_THE_DOMAIN.because(what=f"the module cannot be called {where}")
        rows = (~torch.isfinite(outputs)).nonzero()
        if len(rows):
            row = int(rows[0])
            found = f"{problem.outputs.name(row)} is {float(outputs[row])} {where}"
            if abs(float(problem.y[row])) > HUGE:
                return Reason.OVERFLOW.because(what=f"{found}; move the point")
            return Reason.EDGE_OF_THE_DOMAIN.because(what=found)
    return Reason.OVERFLOW.because(what="the differences of the outputs are not finite at any step; move the point")


def _outputs_at(problem: Problem, point: Tensor, entry: int, value: float) -> Tensor | None:
    """Y where one number of a flattened point has another value; None where the module cannot be called there."""
    here = point[entry].clone()
    try:
        point[entry] = value
        return problem.evaluate()
    except InputError:
        return None
    finally:
        point[entry] = here
