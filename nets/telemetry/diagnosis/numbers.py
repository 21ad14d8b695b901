"""Numbers of a diagnosis as text."""

import math

from nets.records.layer_statistics import Snapshot
from nets.text import two_digits


def change(factor: float) -> str:
    """'shrinks 80-fold', 'grows 5-fold'."""
    if factor == 0 or math.isinf(factor):
        return "shrinks to exactly 0" if factor else "grows without limit"
    verb, size = ("shrinks", factor) if factor >= 1 else ("grows", 1 / factor)
    return f"{verb} {two_digits(size)}-fold"


def moment(snapshot: Snapshot) -> str:
    """The moment of a snapshot, as text."""
    return f"after step {snapshot.updates:,}" if snapshot.updates else "before the first step"
