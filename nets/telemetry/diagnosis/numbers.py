"""Numbers as a diagnosis writes them."""

import math

from nets.records.layer_statistics import Snapshot


def rounded(number: float) -> str:
    """Two digits: 0.25, 2.0, 78, 1,234 or 2.0e+06."""
    if not math.isfinite(number):
        return "∞" if number > 0 else "unknown"
    if number == 0 or not 1e-3 <= number < 1e5:
        return f"{number:.1e}" if number else "0"
    return f"{number:.2g}" if number < 10 else f"{number:,.0f}"


def percent(share: float) -> str:
    """A rounded share, but never 0 or 100 % where it is neither."""
    if 0 < share < 0.005 or 0.995 <= share < 1:
        return "<1 %" if share < 0.5 else ">99 %"
    return f"{share:.0%}".replace("%", " %")


def change(factor: float) -> str:
    """'shrinks 80-fold', 'grows 5-fold'."""
    if factor == 0 or math.isinf(factor):
        return "shrinks to exactly 0" if factor else "grows without limit"
    verb, size = ("shrinks", factor) if factor >= 1 else ("grows", 1 / factor)
    return f"{verb} {rounded(size)}-fold"


def moment(snapshot: Snapshot) -> str:
    """When a snapshot was taken."""
    return f"after step {snapshot.updates:,}" if snapshot.updates else "before the first step"
