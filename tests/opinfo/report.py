"""The counts of a run, its unexpected outcomes, and the page docs/pytorch.md."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.opinfo.known import KNOWN, Known, known
from tests.opinfo.running import SAMPLES, SECONDS, Outcome
from tests.opinfo.samples import NUMBERS

PAGE = Path(__file__).parents[2] / "docs" / "pytorch.md"

VERDICTS = ("pass", "fail", "forward mode", "inconclusive", "refused", "not finite", "late", "raised")


def counts(outcomes: list[Outcome]) -> str:
    """One line for each order of derivatives: the number of outcomes of each verdict."""
    lines = []
    for order in (1, 2):
        found = Counter(outcome.verdict for outcome in outcomes if outcome.order == order)
        known_faults = sum(1 for o in outcomes if o.order == order and o.verdict == "fail" and known(o.name, o.order))
        parts = [f"{found[verdict]:,} {verdict}" for verdict in VERDICTS]
        lines.append(f"order {order}: {', '.join(parts)}; {known_faults} of the failures are known faults of PyTorch.")
    return "\n".join(lines)


def unexpected(outcomes: list[Outcome]) -> list[str]:
    """Outcomes that need attention: errors other than InputError, and failures that are not known faults of PyTorch."""
    return [
        f"{o.verdict}: {_label(o)}: {o.sentence}"
        for o in outcomes
        if o.verdict == "raised" or (o.verdict == "fail" and known(o.name, o.order) is None)
    ]


def not_reproduced(outcomes: list[Outcome]) -> list[str]:
    """Known faults that a full run did not reproduce; they must leave the table."""
    shown = {(o.name, o.order) for o in outcomes if o.verdict == "fail"}
    missing = [
        (name, order) for entry in KNOWN for name in entry.names for order in entry.orders if (name, order) not in shown
    ]
    return [f"{name}, order {order}, is in the table of known faults and did not fail" for name, order in missing]


def undecided(outcomes: list[Outcome]) -> str:
    """The outcomes that neither passed nor failed, each with its sentence."""
    left = [o for o in outcomes if o.verdict not in ("pass", "fail", "raised")]
    return "\n".join(
        f"{o.verdict}: {_label(o)}: {o.sentence}" for o in sorted(left, key=lambda o: (o.verdict, _label(o)))
    )


def page(outcomes: list[Outcome]) -> str:
    """The text of docs/pytorch.md."""
    rows = [_row(entry, list(_failures(entry, outcomes))) for entry in KNOWN]
    return f"""# What nets found in PyTorch 2.13

`make opinfo ARGS=--write` writes this page, and `make opinfo` compares it with a new run. The run verifies every
operation of `torch.testing._internal.common_methods_invocations.op_db` and every module of `common_modules.module_db`
at PyTorch's own sample inputs: up to {SAMPLES} samples each, with at most {NUMBERS} numbers to differentiate with
respect to, in float64 and complex128, first and second derivatives, at most {SECONDS} seconds of CPU time per sample.
`tests/opinfo/samples.py` adds a few samples.

```
{counts(outcomes)}
```

Each failure below is in the table `tests/opinfo/known.py` with its reason. "By design" means that PyTorch intends
this gradient; it still differs from the derivative of the output.

| operation or module | order | what | why | an entry |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

At these samples only forward mode is wrong, although PyTorch declares that it supports it:

{_forward(outcomes)}
"""


def listed(text: str) -> set[str]:
    """The first three cells of each row of the page: names, orders and kind, which do not depend on the machine."""
    return {"|".join(line.split("|")[:4]) for line in text.splitlines() if line.startswith("| `")}


def _forward(outcomes: list[Outcome]) -> str:
    """A line for each operation whose forward mode is wrong, with the first sentence about it."""
    first = {o.name: o for o in reversed(outcomes) if o.verdict == "forward mode"}
    return "\n".join(f"- {_label(first[name])}: {_entry(first[name])}" for name in sorted(first))


def _entry(outcome: Outcome) -> str:
    return outcome.sentence.removeprefix("fail: ").replace("|", "\\|")


def _row(entry: Known, failures: list[Outcome]) -> str:
    names = ", ".join(f"`{name}`" for name in entry.names)
    orders = ", ".join(map(str, entry.orders))
    report = f" ([#{entry.report}](https://github.com/pytorch/pytorch/issues/{entry.report}))" if entry.report else ""
    first = _entry(failures[0]) if failures else ""
    return f"| {names} | {orders} | {entry.kind.value} | {entry.why}{report} | {first} |"


def _failures(entry: Known, outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    return (o for o in outcomes if o.verdict == "fail" and o.name in entry.names and o.order in entry.orders)


def _label(outcome: Outcome) -> str:
    return f"{outcome.name} ({outcome.dtype}, sample {outcome.sample}, order {outcome.order})"
