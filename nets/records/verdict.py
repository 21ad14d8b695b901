"""The three verdicts, and what several of them come to."""

from collections.abc import Iterable
from typing import Literal

Verdict = Literal["pass", "fail", "inconclusive"]


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """'fail' if any is, else 'inconclusive' if any is or there is none, else 'pass'."""
    found = set(verdicts)
    return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found or not found else "pass"
