"""What autograd asks of a backward besides the right numbers: to leave alone what it is given, and to do with what it gets.

A backward that breaks this may well give the right gradient of one call by itself, and a wrong one in a network: where the gradient
that it writes to goes somewhere else as well, where the loss uses only some of its outputs, or where it comes transposed.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

from torch import Tensor

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import listed
from nets.verification.contract.disagreement import pulled_back
from nets.verification.contract.interleaving import check_interleaved
from nets.verification.contract.later_writes import check_later_writes
from nets.verification.contract.layouts import check_expanded, check_layouts
from nets.verification.contract.recorded import Cotangents, Walks, record
from nets.verification.contract.watching import Watch, same
from nets.verification.problem.problem import Problem

EVERY_SUBSET = 5
"""Outputs up to which each subset of them is used alone; beyond, each single one, each pair, and all but one."""

MANY = 8
"""Outputs up to which each pair is used alone and each single one is left out as well."""


def check_writes(problem: Problem) -> list[Check]:
    """A failed check where a backward writes into the gradient that it is given; none where none does."""
    call = record(problem)
    if not call.outputs:
        return []
    given = [v.clone() for v in call.cotangents]
    with Watch(call.outputs) as watch:
        call.pull_back(given)
    written = watch.written + [n for n, v, was in zip(call.names, given, call.cotangents, strict=True) if not same(v, was)]
    if not written:
        return []
    who = watch.written[0] if watch.written else "the backward pass"
    where = "" if watch.written else f" that arrives at {written[0]}"
    found = Reason.WRITES_INTO_COTANGENT.because(who=who, where=where)
    return [Check.without_entry("all", Method.REVERSE_MODE, Method.ITSELF, Verdict.FAIL, found)]


def check_contract(problem: Problem, inputs: tuple[Any, ...]) -> list[Check]:
    """One failed check for the first circumstance in which the gradient is another one, though the derivative is the same; none if
    there is none."""
    walks = Walks(problem)
    if not walks.recorded.outputs:
        return []
    return (
        check_interleaved(problem)
        or _some_outputs(walks)
        or check_layouts(walks)
        or check_expanded(problem, inputs)
        or check_later_writes(problem)
    )


def _some_outputs(walks: Walks) -> list[Check]:
    """Whether the gradient of some of the outputs is another one where no gradient at all arrives at the rest, not even a zero."""
    names = walks.recorded.names
    for used in _subsets(len(names)):
        try:
            expected = walks.pull_back(_where(used, lambda v: 0 * v))
        except Exception:  # it is not for want of a gradient
            continue
        found = pulled_back(walks, _where(used, lambda v: None), expected)
        if found is not None:
            left = " and at ".join(name for i, name in enumerate(names) if i not in used)
            alone = listed([names[i] for i in used])
            where = f"where the gradient that arrives at {left} is None, as in a loss that uses {alone} alone"
            return [found.check(where, "where that gradient is zero")]
    return []


def _where(used: tuple[int, ...], otherwise: Callable[[Tensor], Tensor | None]) -> Callable[[list[Tensor]], Cotangents]:
    """The usual cotangents at some outputs, and something else at the others."""
    return lambda cotangents: [v if i in used else otherwise(v) for i, v in enumerate(cotangents)]


def _subsets(count: int) -> list[tuple[int, ...]]:
    """The sets of outputs that are used alone: each that is neither empty nor everything, or of many outputs a part of those."""
    everything = range(count)
    if count <= EVERY_SUBSET:
        return [used for size in range(1, count) for used in combinations(everything, size)]
    single: list[tuple[int, ...]] = [(output,) for output in everything]
    if count > MANY:
        return single
    return [*single, *combinations(everything, 2), *combinations(everything, count - 1)]
