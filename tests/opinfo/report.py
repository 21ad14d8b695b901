"""The counts of a run, what in it nobody knows of, and the page of what was found in PyTorch."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.opinfo.known import KNOWN, Known, known
from tests.opinfo.running import SAMPLES, SECONDS, Outcome
from tests.opinfo.samples import NUMBERS

PAGE = Path(__file__).parents[2] / "docs" / "pytorch.md"

VERDICTS = ("pass", "fail", "forward mode", "inconclusive", "refused", "not finite", "late", "raised")


def counts(outcomes: list[Outcome]) -> str:
    """A line for each order of derivatives."""
    lines = []
    for order in (1, 2):
        found = Counter(outcome.verdict for outcome in outcomes if outcome.order == order)
        ours = sum(1 for o in outcomes if o.order == order and o.verdict == "fail" and known(o.name, o.order))
        told = [f"{found[verdict]:,} {verdict}" for verdict in VERDICTS]
        lines.append(f"order {order}: {', '.join(told)}; {ours} of the failures are known faults of PyTorch.")
    return "\n".join(lines)


def strange(outcomes: list[Outcome]) -> list[str]:
    """What must not be: an error other than InputError, and a failure that is no known fault of PyTorch."""
    return [
        f"{o.verdict}: {_called(o)}: {o.sentence}"
        for o in outcomes
        if o.verdict == "raised" or (o.verdict == "fail" and known(o.name, o.order) is None)
    ]


def unseen(outcomes: list[Outcome]) -> list[str]:
    """Known faults that a full run did not show: the table is to be kept true."""
    shown = {(o.name, o.order) for o in outcomes if o.verdict == "fail"}
    missing = [
        (name, order) for entry in KNOWN for name in entry.names for order in entry.orders if (name, order) not in shown
    ]
    return [f"{name}, order {order}, is in the table of known faults and did not fail" for name, order in missing]


def undecided(outcomes: list[Outcome]) -> str:
    """Everything that neither passed nor failed, with its sentence."""
    left = [o for o in outcomes if o.verdict not in ("pass", "fail", "raised")]
    return "\n".join(
        f"{o.verdict}: {_called(o)}: {o.sentence}" for o in sorted(left, key=lambda o: (o.verdict, _called(o)))
    )


def page(outcomes: list[Outcome]) -> str:
    """docs/pytorch.md."""
    rows = [_row(entry, list(_shown(entry, outcomes))) for entry in KNOWN]
    return f"""# What nets found in PyTorch 2.13

`make opinfo ARGS=--write` writes this page, and `make opinfo` holds it against a new run. It verifies every operation
of `torch.testing._internal.common_methods_invocations.op_db` and every module of `common_modules.module_db` at
PyTorch's own sample
inputs: up to {SAMPLES} samples each with at most {NUMBERS} numbers to differentiate by, in float64 and in complex128,
    the first and
the second derivatives, for {SECONDS} seconds of the processor's time at the most. `tests/opinfo/samples.py` adds a few
of its own.

```
{counts(outcomes)}
```

Each failure below has its reason in the table `tests/opinfo/known.py`. "By design" is what PyTorch
documents or means; the derivative of the output is another one.

| operation or module | order | what | why | an entry |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Forward mode alone is wrong, at the sample that is given, where PyTorch says that it has one:

{_forward(outcomes)}
"""


def listed(text: str) -> set[str]:
    """The first three cells of each row of such a page, which no machine changes."""
    return {"|".join(line.split("|")[:4]) for line in text.splitlines() if line.startswith("| `")}


def _forward(outcomes: list[Outcome]) -> str:
    """A line for each operation whose forward mode is wrong, with its first sentence."""
    first = {o.name: o for o in reversed(outcomes) if o.verdict == "forward mode"}
    return "\n".join(f"- {_called(first[name])}: {_entry(first[name])}" for name in sorted(first))


def _entry(outcome: Outcome) -> str:
    return outcome.sentence.removeprefix("fail: ").replace("|", "\\|")


def _row(entry: Known, shown: list[Outcome]) -> str:
    names = ", ".join(f"`{name}`" for name in entry.names)
    orders = ", ".join(map(str, entry.orders))
    report = f" ([#{entry.report}](https://github.com/pytorch/pytorch/issues/{entry.report}))" if entry.report else ""
    first = _entry(shown[0]) if shown else ""
    return f"| {names} | {orders} | {entry.kind.value} | {entry.why}{report} | {first} |"


def _shown(entry: Known, outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    return (o for o in outcomes if o.verdict == "fail" and o.name in entry.names and o.order in entry.orders)


def _called(outcome: Outcome) -> str:
    return f"{outcome.name} ({outcome.dtype}, sample {outcome.sample}, order {outcome.order})"
