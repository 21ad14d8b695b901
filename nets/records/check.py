"""The record of a comparison of two derivations of a Jacobian."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nets.records.reason import PASSED, Explained, Finding
from nets.records.verdict import Verdict
from nets.text import distinct_digits, index_text


@dataclass(frozen=True, slots=True)
class Check:
    """The comparison of one derivation of ∂Y/∂parameter with another.

    Attributes:
        parameter: its name, as in `named_parameters()`; 'input' or 'input[0]', …; 'all' or 'output' if the check is
            about no single one.
        oracle: the derivation that is judged: a `Method`, or the name of an engine of the caller.
        against: the derivation that it is compared with.
        entries: the number of entries of the Jacobian that were compared.
        wrong: the number of these that differ by more than the tolerance.
        max_abs_error: the largest |actual − expected|; None if the check only answers yes or no.
        max_rel_error: the same divided by the largest |expected|.
        worst_index: the wrong entry with the largest error, or else the entry with the largest error in units of its
            tolerance. It consists of the key of the output if there are several, the index of the output (n, k), then
            the index of the parameter (i, j).
        expected: the value of `against` at this entry.
        actual: the value of `oracle` at this entry.
        tolerance: the error at this entry that rounding and truncation explain.
        detects: the smallest relative fault common to all entries, such as a wrong scale, that this check would have
            seen at this point; None if the gradient is exactly zero.
        verdict: PASS, FAIL, or INCONCLUSIVE where there is no derivative or the check could not have seen a fault.
        reason: why; None for a plain pass.
        message: the reason in words, with its facts; '' for a plain pass. No code reads it.
        ulp: in low precision, the largest error in units in the last place of the largest entry.
        detects_entry: the smallest fault of any single entry, in parts of the largest entry, that this check would have
            seen; by probes, of an entry of the gradient of a random sum of the outputs.
        bound: the absolute bound on a gradient that is zero where the output does depend on the parameter; None
            elsewhere.
        output: the name of the differentiated output: 'Y', or "Y[1]" or "Y['key']" if the module returns several
            tensors; None if no entry is shown.
        output_index: the part of `worst_index` that is the index in that output.
        parameter_index: the part of `worst_index` that is the index in the parameter or input.
        precision: the precision of the module, such as 'bfloat16', if the module in its own precision is judged; None
            for a copy in float64.
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
    reason: Explained | None = None
    message: str = ""
    ulp: float | None = None
    detects_entry: float | None = None
    output: str | None = None
    output_index: tuple[Any, ...] | None = None
    parameter_index: tuple[Any, ...] | None = None
    bound: float | None = None
    precision: str | None = None

    @classmethod
    def without_entry(
        cls, parameter: str, oracle: str, against: str, verdict: Verdict, found: Finding = PASSED, *, entries: int = 0
    ) -> "Check":
        """A check that answers yes or no, with no entry to show."""
        return cls(parameter, oracle, against, entries, 0, None, None, None, None, None, None, None, verdict, *found)

    @classmethod
    def from_errors(
        cls,
        parameter: str,
        oracle: str,
        against: str,
        actual: Tensor,
        expected: Tensor,
        tolerance: Tensor,
        verdict: Verdict,
        found: Finding = PASSED,
        *,
        shown: int | None = None,
        wrong: int | None = None,
        entries: int | None = None,
        scale: float | None = None,
        **fields: Any,
    ) -> "Check":
        """A check with an entry to show, from two derivations of the same numbers.

        Args:
            actual: the values of the oracle.
            expected: the values that they are compared with, of the same shape.
            tolerance: the errors that rounding and truncation explain, broadcasting to that shape.
            shown: the place of the entry to show, among the flattened numbers; by default the entry with the largest
                error in units of its tolerance.
            wrong: the number of wrong entries; by default of those whose error exceeds the tolerance.
            entries: the number of entries that these numbers represent; by default their own number.
            scale: the largest |expected| of the Jacobian; by default of these numbers.
            fields: of the check, such as those of `EntryIndex.fields()`, which say where the entry stands.
        """
        error, tolerance = (actual - expected).abs_().nan_to_num_(nan=torch.inf), tolerance.expand_as(expected)
        largest = float(error.max())
        if shown is None:
            shown = int((error / tolerance.clamp(min=torch.finfo(error.dtype).tiny)).argmax())
        off = int((error > tolerance).sum())
        scale = float(expected.abs().max()) if scale is None else scale
        relative = largest / scale if scale > 0 else math.inf if off else 0.0
        return cls(
            parameter=parameter,
            oracle=oracle,
            against=against,
            entries=expected.numel() if entries is None else entries,
            wrong=off if wrong is None else wrong,
            max_abs_error=largest,
            max_rel_error=relative,
            expected=float(expected.reshape(-1)[shown]),
            actual=float(actual.reshape(-1)[shown]),
            tolerance=float(tolerance.reshape(-1)[shown]),
            verdict=verdict,
            reason=found.reason,
            message=found.message,
            **fields,
        )

    @classmethod
    def from_number(
        cls,
        parameter: str,
        oracle: str,
        against: str,
        numbers: tuple[float, float, float],
        verdict: Verdict,
        found: Finding = PASSED,
        **fields: Any,
    ) -> "Check":
        """The same from one number: (actual, expected, tolerance)."""
        actual, expected, tolerance = torch.tensor(numbers, dtype=torch.float64)[:, None]
        return cls.from_errors(
            parameter, oracle, against, actual, expected, tolerance, verdict, found, shown=0, **fields
        )

    def explained(self, verdict: Verdict, found: Finding) -> "Check":
        """The same numbers with another verdict, or for another reason."""
        return replace(self, verdict=verdict, reason=found.reason, message=found.message)

    def because(self, more: str) -> "Check":
        """The same check with more to its message."""
        return replace(self, message=self.message + more)

    def looks_like(self, mistake: Finding | None) -> "Check":
        """The same check with a mistake that explains the fault as its reason; the check itself if `mistake` is
        None."""
        if mistake is None:
            return self
        return replace(self, reason=mistake.reason, message=f"{self.message}; it looks like {mistake.message}")

    def __str__(self) -> str:
        """One sentence."""
        why = f" ({self.message})" if self.message else ""
        if self.worst_index is None or self.verdict != Verdict.FAIL:
            return f"{self.parameter}: {self.oracle} against {self.against}: {self.verdict}{why}."
        actual, expected = distinct_digits(self.actual, self.expected)
        return (
            f"{self.entry or self.parameter}: {self.oracle} gives {actual} where {self.against} gives {expected}; "
            f"{self.wrong:,} of {self.entries:,} entries are off{why}."
        )

    @property
    def entry(self) -> str:
        """The entry at `worst_index` in words, such as '∂Y[1, 2] / ∂weight[0, 1]'; '' where none is shown."""
        if self.output_index is None or self.parameter_index is None:
            return f"{self.parameter}, entry {index_text(self.worst_index)}" if self.worst_index else ""
        return f"∂{self.output}{index_text(self.output_index)} / ∂{self.parameter}{index_text(self.parameter_index)}"
