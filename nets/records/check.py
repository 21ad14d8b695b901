"""One derivation of a Jacobian held against another: the record of what was found."""

from dataclasses import dataclass, replace
from typing import Any

from nets.records.verdict import Verdict
from nets.text import indexed, told_apart


@dataclass(frozen=True, slots=True)
class Check:
    """One derivation of ∂Y/∂parameter held against another.

    Attributes:
        parameter: its name, as in `named_parameters()`; 'input' or 'input[0]', …; 'all' or 'output' where none is singled out.
        oracle: the derivation that is judged.
        against: the derivation that it is held against.
        entries: how many entries of the Jacobian were compared.
        wrong: how many of them differ by more than the tolerance.
        max_abs_error: the largest |actual − expected|; None where the oracle only answers yes or no.
        max_rel_error: the same over the largest |expected|.
        worst_index: the wrong entry with the largest error, or else the one that comes nearest to its tolerance: the key of the
            output where there are several, the index of the output (n, k), then of the parameter (i, j).
        expected: what `against` gives there.
        actual: what `oracle` gives there.
        tolerance: the error that rounding and truncation explain there.
        detects: the smallest relative fault common to all entries, such as a wrong scale, that this check would have seen at this
            point; None where the gradient is truly zero.
        verdict: 'pass', 'fail', or 'inconclusive' where there is no derivative or the check could not have seen a fault.
        reason: why, in a few words; empty for a plain pass.
        ulp: in low precision, the largest error in units in the last place of the largest entry.
        detects_entry: the smallest fault of one entry alone, in parts of the largest entry, that this check would have seen
            whichever entry it were; by probes, of an entry of the gradient of a random sum of the outputs.
        bound: the absolute bound on a gradient that is zero where the output does depend on the parameter; None elsewhere.
        output: what is differentiated there: 'Y', or "Y[1]" or "Y['key']" where the module returns several tensors; None where no
            entry is shown.
        output_index: the part of `worst_index` that is the index in that output.
        parameter_index: the part of `worst_index` that is the index in the parameter or input.
    """

    parameter: str
    oracle: str
    against: str
    entries: int
    wrong: int
    max_abs_error: float | None
    max_rel_error: float | None
    worst_index: tuple[Any, ...] | None
    expected: float | None
    actual: float | None
    tolerance: float | None
    detects: float | None
    verdict: Verdict
    reason: str = ""
    ulp: float | None = None
    detects_entry: float | None = None
    output: str | None = None
    output_index: tuple[Any, ...] | None = None
    parameter_index: tuple[Any, ...] | None = None
    bound: float | None = None

    @classmethod
    def plain(cls, parameter: str, oracle: str, against: str, entries: int, verdict: Verdict, reason: str) -> "Check":
        """A check that answers yes or no, with no entry to show."""
        return cls(parameter, oracle, against, entries, 0, None, None, None, None, None, None, None, verdict, reason)

    def because(self, more: str) -> "Check":
        """The same check with more to its reason."""
        return replace(self, reason=self.reason + more)

    def __str__(self) -> str:
        """One sentence."""
        why = f" ({self.reason})" if self.reason else ""
        if self.worst_index is None or self.verdict != "fail":
            return f"{self.parameter}: {self.oracle} against {self.against}: {self.verdict}{why}."
        actual, expected = told_apart(self.actual, self.expected)
        return (
            f"{self.entry or self.parameter}: {self.oracle} gives {actual} where {self.against} gives {expected}; "
            f"{self.wrong:,} of {self.entries:,} entries are off{why}."
        )

    @property
    def entry(self) -> str:
        """The entry at `worst_index` in words, such as '∂Y[1, 2] / ∂weight[0, 1]'; '' where none is shown."""
        if self.output_index is None or self.parameter_index is None:
            return f"{self.parameter}, entry {indexed(self.worst_index)}" if self.worst_index else ""
        return f"∂{self.output}{indexed(self.output_index)} / ∂{self.parameter}{indexed(self.parameter_index)}"
