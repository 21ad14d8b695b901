"""The report of a run over PyTorch's own operations; the run itself is left to `make opinfo`."""

from tests.opinfo.known import KNOWN
from tests.opinfo.report import PAGE, counts, listed, page, strange, unseen
from tests.opinfo.running import Outcome


def outcome(name: str, order: int, verdict: str) -> Outcome:
    return Outcome(name, "float64", 0, order, verdict, f"{verdict}: a sentence", 0.1)


def test_only_a_failure_that_nobody_knows_and_an_error_are_strange() -> None:
    first = KNOWN[0]
    fine = [
        outcome(first.names[0], first.orders[0], "fail"),
        outcome("sin", 1, "pass"),
        outcome("max", 2, "inconclusive"),
    ]
    assert strange(fine) == []
    odd = [outcome("sin", 1, "fail"), outcome("cos", 2, "raised")]
    assert strange([*fine, *odd]) == [
        "fail: sin (float64, sample 0, order 1): fail: a sentence",
        "raised: cos (float64, sample 0, order 2): raised: a sentence",
    ]


def test_a_known_fault_of_the_first_order_excuses_no_other() -> None:
    entry = next(entry for entry in KNOWN if entry.orders == (1,))
    assert strange([outcome(entry.names[0], 2, "fail")])


def test_a_fault_that_is_gone_is_to_leave_the_table() -> None:
    shown = [outcome(name, order, "fail") for entry in KNOWN for name in entry.names for order in entry.orders]
    assert unseen(shown) == []
    assert unseen(shown[1:]) == [
        f"{shown[0].name}, order {shown[0].order}, is in the table of known faults and did not fail"
    ]


def test_the_counts_tell_known_faults_from_others() -> None:
    first = KNOWN[0]
    told = counts([outcome(first.names[0], 1, "fail"), outcome("sin", 1, "fail"), outcome("cos", 1, "pass")])
    assert told.splitlines()[0].startswith("order 1: 1 pass, 2 fail") and "; 1 of the failures" in told.splitlines()[0]


def test_the_page_lists_what_is_known() -> None:
    assert listed(PAGE.read_text()) == listed(page([]))
    assert len(listed(page([]))) == len(KNOWN)
