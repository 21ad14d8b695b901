"""Causes that say where the wrong entries are: one entry, one row, some samples, one side of a kink.

Each holds for what is known: it names a place only if no entry that may be wrong as well, unseen, lies outside of it.
"""

from nets.verification.fault_patterns.fault import Fault


def one_row(fault: Fault) -> str:
    shape, wrong, name = fault.shape, fault.wrong, fault.name
    bad, unknown = wrong.any(0), fault.unknown().any(0) & ~fault.right().any(0)
    known = not bool((unknown & ~bad).any())
    places = bad.reshape(shape).nonzero()
    if known and wrong[:, fault.expected.any(0)].any() and int(bad.sum()) == 1 and shape.numel() > 1:
        return f"one entry of {name}: {_place(places[0].tolist())}"
    doubtful = (unknown & ~bad).reshape(shape).nonzero()
    for axis, size in enumerate(shape):
        lines = places[:, axis].unique()
        if size > 1 and len(lines) == 1 and bool((doubtful[:, axis] == lines[0]).all()):
            kind = {0: "row", 1: "column"}.get(axis, f"slice along axis {axis}")
            return f"one {kind} of {name}: {int(lines[0])}"
    return ""


def samples(fault: Fault) -> str:
    """Some samples count and others do not, in a sum over all of them, which the gradient by an input is not."""
    problem = fault.problem
    rows = problem.outputs.samples(problem.samples)
    if rows is None or problem.samples < 2 or fault.name.startswith("input"):
        return ""
    bad = [n for n in range(problem.samples) if fault.wrong[rows == n].any()]
    counted = [n for n in range(problem.samples) if n not in bad and fault.right()[rows == n].any()]
    if bad and counted and not any(fault.actual[rows == n][fault.wrong[rows == n]].any() for n in bad):
        return f"not summed over the batch: sample{'s' * (len(bad) > 1)} {_few(bad)} left out"
    return ""


def side(fault: Fault) -> str:
    """Wrong for the small numbers and right for the large, or the other way about."""
    name, values, bad = fault.name, fault.problem.points[fault.name].reshape(-1), fault.wrong.any(0)
    good = ~bad & fault.right().any(0)
    unknown = ~bad & ~good & fault.unknown().any(0)
    if int(bad.sum()) < 2 or int(good.sum()) < 2:
        return ""
    # What is not known lies on the side of the wrong ones, or between the two.
    if values[bad | unknown].max() < values[good].min():
        return f"below the kink: wrong where {name} is under {float(values[good].min()):.3g}, right above"
    if values[bad | unknown].min() > values[good].max():
        return f"above the kink: wrong where {name} is over {float(values[good].max()):.3g}, right below"
    return ""


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:4])) + (", …" if len(numbers) > 4 else "")


def _place(index: list[int]) -> str:
    return "[" + ", ".join(map(str, index)) + "]"
