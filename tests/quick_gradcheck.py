"""Certificates of tests that are about something else."""

import pytest


def quick_gradcheck(patch: pytest.MonkeyPatch) -> None:
    """gradcheck and gradgradcheck of a certificate check one projection of all entries, as for large networks.

    Entry by entry they take half of the time of a small certificate, and ten times as long as the rest of a short run.
    The other derivations still check every entry.
    """
    patch.setattr("nets.verification.checks.gradcheck.FIRST_ORDER_BUDGET", 0)
    patch.setattr("nets.verification.checks.gradcheck.SECOND_ORDER_BUDGET", 0)
