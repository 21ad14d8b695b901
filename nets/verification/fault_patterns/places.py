"""Where the wrong entries are: one entry, one row, some samples, one side of a kink.

A place is named only if every entry outside of it is known to be right.
"""

from nets.records.reason import Finding, Reason
from nets.verification.fault_patterns.fault import Fault


def one_row(fault: Fault) -> Finding | None:
    """One entry of the point, or one row, column or slice."""
    shape, wrong, name = fault.shape, fault.wrong, fault.name
    bad, unknown = wrong.any(0), fault.unknown().any(0) & ~fault.right().any(0)
    known = not bool((unknown & ~bad).any())
    places = bad.reshape(shape).nonzero()
    if known and wrong[:, fault.expected.any(0)].any() and int(bad.sum()) == 1 and shape.numel() > 1:
        return Reason.ONE_ENTRY.because(name=name, index=places[0].tolist())
    doubtful = (unknown & ~bad).reshape(shape).nonzero()
    for axis, size in enumerate(shape):
        lines = places[:, axis].unique()
        if size > 1 and len(lines) == 1 and bool((doubtful[:, axis] == lines[0]).all()):
            return one_slice(name, axis, int(lines[0]))
    return None


def one_slice(name: str, axis: int, number: int) -> Finding:
    """All wrong entries have the same index along one axis."""
    kind = {0: "row", 1: "column"}.get(axis, f"slice along axis {axis}")
    return Reason.ONE_SLICE.because(name=name, kind=kind, number=number)


def samples(fault: Fault) -> Finding | None:
    """Some samples are missing in a sum over all of them. Only for parameters: a gradient by an input is not a sum
    over samples."""
    problem = fault.problem
    rows = problem.outputs.samples(problem.samples)
    if rows is None or problem.samples < 2 or fault.name not in problem.parameters:
        return None
    bad = [n for n in range(problem.samples) if fault.wrong[rows == n].any()]
    counted = [n for n in range(problem.samples) if n not in bad and fault.right()[rows == n].any()]
    if bad and counted and not any(fault.actual[rows == n][fault.wrong[rows == n]].any() for n in bad):
        return Reason.SAMPLES_LEFT_OUT.because(samples=f"sample{'s' * (len(bad) > 1)} {_few(bad)}")
    return None


def side(fault: Fault) -> Finding | None:
    """Entries are wrong where the numbers of the point are small and right where they are large, or the reverse."""
    name, values, bad = fault.name, fault.problem.points[fault.name].reshape(-1), fault.wrong.any(0)
    good = ~bad & fault.right().any(0)
    unknown = ~bad & ~good & fault.unknown().any(0)
    if int(bad.sum()) < 2 or int(good.sum()) < 2:
        return None
    # Entries that are not known to be right are on the side of the wrong ones, or between the two.
    if values[bad | unknown].max() < values[good].min():
        return Reason.BELOW_A_KINK.because(name=name, bound=float(values[good].min()))
    if values[bad | unknown].min() > values[good].max():
        return Reason.ABOVE_A_KINK.because(name=name, bound=float(values[good].max()))
    return None


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:4])) + (", …" if len(numbers) > 4 else "")
