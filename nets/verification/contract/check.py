"""Rules of autograd that a backward must keep, besides giving the right numbers.

A backward that breaks these rules may give the right gradient of one call by itself, and a wrong one in a network:
where the gradient that it writes into is used elsewhere as well, where the loss uses only some of its outputs, or where
the incoming gradient is transposed.
"""

import functools
from itertools import combinations
from typing import Any

from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import listed
from nets.verification.attempt import attempt
from nets.verification.contract.batching import check_batching
from nets.verification.contract.disagreement import find_disagreement
from nets.verification.contract.graph_nodes import WatchWrites
from nets.verification.contract.interleaving import check_interleaved
from nets.verification.contract.later_writes import check_later_writes
from nets.verification.contract.layouts import check_expanded, check_layouts
from nets.verification.contract.recorded import BackwardPasses, CotangentChoice, record
from nets.verification.problem.problem import Problem
from nets.verification.problem.pytree import same_numbers

MOST_FOR_EVERY_SUBSET = 5
"""Up to this number of outputs, every subset of them is used alone."""

MOST_FOR_PAIRS = 8
"""Up to this number, each single output, each pair, and all but one are used alone; beyond it, only each single
output."""


def check_writes(problem: Problem) -> list[Check]:
    """A failed check if a backward writes into its incoming gradient; otherwise an empty list."""
    call = record(problem)
    if not call.outputs:
        return []
    given = [v.clone() for v in call.cotangents]
    with WatchWrites(call.outputs) as watch:
        call.pull_back(given)
    changed = [
        n for n, v, before in zip(call.names, given, call.cotangents, strict=True) if not same_numbers(v, before)
    ]
    if not watch.written and not changed:
        return []
    who = watch.written[0] if watch.written else "the backward pass"
    where = "" if watch.written else f" that arrives at {changed[0]}"
    reason = Reason.WRITES_INTO_COTANGENT.because(who=who, where=where)
    return [Check.without_entry("all", Method.REVERSE_MODE, Method.ITSELF, Verdict.FAIL, reason)]


def check_contract(problem: Problem, inputs: tuple[Any, ...]) -> list[Check]:
    """A failed check for the first rule that the backward breaks: a circumstance that changes the gradient, though not
    the derivative. Empty if there is none."""
    passes = BackwardPasses(problem)
    if not passes.call.outputs:
        return []
    return (
        check_interleaved(problem)
        or _check_missing_gradients(passes)
        or check_layouts(passes)
        or check_expanded(problem, inputs)
        or check_later_writes(problem)
        or check_batching(problem)
    )


def _check_missing_gradients(passes: BackwardPasses) -> list[Check]:
    """A failed check where the gradient of some outputs changes when the gradients of the others are None, not zero."""
    names = passes.call.names
    for used in _subsets(len(names)):
        expected = attempt(functools.partial(passes.pull_back, _only(used, missing=False))).or_none()
        if expected is None:  # the backward raises even for zeros
            continue
        found = find_disagreement(passes, _only(used, missing=True), expected)
        if found is not None:
            others = " and at ".join(name for i, name in enumerate(names) if i not in used)
            alone = listed([names[i] for i in used])
            return [found.check(Reason.MISSING_GRADIENT, others=others, alone=alone)]
    return []


def _only(used: tuple[int, ...], *, missing: bool) -> CotangentChoice:
    """The usual cotangents at some outputs, and None or zeros at the others."""

    def choose(cotangents: list[Tensor]) -> list[Tensor | None]:
        return [v if i in used else None if missing else 0 * v for i, v in enumerate(cotangents)]

    return choose


def _subsets(count: int) -> list[tuple[int, ...]]:
    """The sets of outputs that are used alone."""
    everything = range(count)
    if count <= MOST_FOR_EVERY_SUBSET:
        return [used for size in range(1, count) for used in combinations(everything, size)]
    single: list[tuple[int, ...]] = [(output,) for output in everything]
    if count > MOST_FOR_PAIRS:
        return single
    return [*single, *combinations(everything, 2), *combinations(everything, count - 1)]
