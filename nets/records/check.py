"""One derivation of a Jacobian held against another: the record of what was found."""

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
    """One derivation of ∂Y/∂parameter held against another.

    Attributes:
        parameter: its name, as in `named_parameters()`; 'input' or 'input[0]', …; 'all' or 'output' where none is
            singled out.
        oracle: the derivation that is judged: a `Method`, or the name of an engine of the caller's.
        against: the derivation that it is held against.
        entries: how many entries of the Jacobian were compared.
        wrong: how many of them differ by more than the tolerance.
        max_abs_error: the largest |actual − expected|; None where the oracle only answers yes or no.
        max_rel_error: the same over the largest |expected|.
        worst_index: the wrong entry with the largest error, or else the one that comes nearest to its tolerance: the
            key of the output where there are several, the index of the output (n, k), then of the parameter (i, j).
        expected: what `against` gives there.
        actual: what `oracle` gives there.
        tolerance: the error that rounding and truncation explain there.
        detects: the smallest relative fault common to all entries, such as a wrong scale, that this check would have
            seen at this point; None where the gradient is truly zero.
        verdict: PASS, FAIL, or INCONCLUSIVE where there is no derivative or the check could not have seen a fault.
        reason: why; None for a plain pass.
        message: the reason in words, with its facts; '' for a plain pass. No code reads it.
        ulp: in low precision, the largest error in units in the last place of the largest entry.
        detects_entry: the smallest fault of one entry alone, in parts of the largest entry, that this check would have
            seen whichever entry it were; by probes, of an entry of the gradient of a random sum of the outputs.
        bound: the absolute bound on a gradient that is zero where the output does depend on the parameter; None
            elsewhere.
        output: what is differentiated there: 'Y', or "Y[1]" or "Y['key']" where the module returns several tensors;
            None where no entry is shown.
        output_index: the part of `worst_index` that is the index in that output.
        parameter_index: the part of `worst_index` that is the index in the parameter or input.
        precision: the precision of the module as it stands, such as 'bfloat16', where that is what is judged; None of a
            copy in float64.
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
            actual: what the oracle gives.
            expected: what it is held against; of the same shape.
            tolerance: what rounding and truncation explain, broadcasting to that shape.
            shown: the place of the entry to show, counted along the flattened numbers; the one that is off by the most
                in units of its tolerance if it is not given.
            wrong: how many entries are wrong; those that are off by more than their tolerance if it is not given.
            entries: how many entries these numbers stand for; as many as there are if it is not given.
            scale: the largest |expected| of the Jacobian; that of these numbers if it is not given.
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
        """The same check with the mistake that explains what is wrong, which is its reason from now on; itself where
        none does."""
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
