"""The report of a run over PyTorch's own operations. `make opinfo` makes the run itself."""

from tests.opinfo.known import KNOWN
from tests.opinfo.report import PAGE, counts, listed, not_reproduced, page, unexpected
from tests.opinfo.running import Outcome


def outcome(name: str, order: int, verdict: str) -> Outcome:
    return Outcome(name, "float64", 0, order, verdict, f"{verdict}: a sentence", 0.1)


def test_only_unknown_failures_and_errors_are_unexpected() -> None:
    first = KNOWN[0]
    fine = [
        outcome(first.names[0], first.orders[0], "fail"),
        outcome("sin", 1, "pass"),
        outcome("max", 2, "inconclusive"),
    ]
    assert unexpected(fine) == []
    odd = [outcome("sin", 1, "fail"), outcome("cos", 2, "raised")]
    assert unexpected([*fine, *odd]) == [
        "fail: sin (float64, sample 0, order 1): fail: a sentence",
        "raised: cos (float64, sample 0, order 2): raised: a sentence",
    ]


def test_a_known_fault_at_order_1_does_not_excuse_a_failure_at_order_2() -> None:
    entry = next(entry for entry in KNOWN if entry.orders == (1,))
    assert unexpected([outcome(entry.names[0], 2, "fail")])


def test_a_known_fault_that_does_not_occur_is_reported() -> None:
    shown = [outcome(name, order, "fail") for entry in KNOWN for name in entry.names for order in entry.orders]
    assert not_reproduced(shown) == []
    assert not_reproduced(shown[1:]) == [
        f"{shown[0].name}, order {shown[0].order}, is in the table of known faults and did not fail"
    ]


def test_the_counts_distinguish_known_faults_from_other_failures() -> None:
    first = KNOWN[0]
    lines = counts(
        [outcome(first.names[0], 1, "fail"), outcome("sin", 1, "fail"), outcome("cos", 1, "pass")]
    ).splitlines()
    assert lines[0].startswith("order 1: 1 pass, 2 fail") and "; 1 of the failures" in lines[0]


def test_the_page_lists_the_known_faults() -> None:
    assert listed(PAGE.read_text()) == listed(page([]))
    assert len(listed(page([]))) == len(KNOWN)
