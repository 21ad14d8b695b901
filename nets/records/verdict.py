"""The three verdicts, and the verdict of several checks together."""

from collections.abc import Iterable

from nets.records.text_enum import TextEnum


class Verdict(TextEnum):
    """The verdict of a check on a derivative. INCONCLUSIVE: there is no derivative, or the check could not have seen a
    fault."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """FAIL if any verdict is FAIL; else INCONCLUSIVE if any is, or if there are none; else PASS."""
    found = set(verdicts)
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in found or not found else Verdict.PASS
