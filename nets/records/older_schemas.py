"""Certificates of schemas 1 to 3. They had no `Reason` and no precision: both were the beginning of texts, as
documented then."""

from collections.abc import Mapping
from typing import Any

from nets.errors import quoted
from nets.records.loop_reason import LoopReason
from nets.records.method import Method
from nets.records.reason import Explained, Reason

OLDER = ("nets.certificate/1", "nets.certificate/2", "nets.certificate/3")
"""Schema 1 has no `detects_entry`. Schemas 1 and 2 have one list with the index of the output and of the parameter. In
all three, `reason` is what `message` is now."""

BEGINNINGS: dict[str, Explained] = {
    "wrong derivative": Reason.WRONG_DERIVATIVE,
    "wrong accumulation": LoopReason.WRONG_ACCUMULATION,
    "by probes": Reason.PROBED,
    "kink": Reason.KINK,
    "rounding": Reason.TOO_SMALL,
    "zero up to rounding": Reason.ZERO_EVERYWHERE,
    "zero, to within": Reason.ZERO_HERE,
    "edge of the domain": Reason.EDGE_OF_THE_DOMAIN,
    "overflow": Reason.OVERFLOW,
    "not finite": Reason.NOT_FINITE,
    "not deterministic": Reason.NOT_DETERMINISTIC,
    "stateful": Reason.STATEFUL,
    "weights unknown": LoopReason.WEIGHTS_UNKNOWN,
    "declared by the caller": Reason.DECLARED,
}
"""The beginning of a text → its meaning."""


def upgraded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an older check as the present schema has them.

    Raises:
        ValueError: where `reason` or `oracle` is no text.
    """
    text, oracle = (_text(name, fields.get(name, "")) for name in ("reason", "oracle"))
    reason = next((reason for beginning, reason in BEGINNINGS.items() if text.startswith(beginning)), None)
    judged_as_is = fields.get("against") == Method.REVERSE_IN_FLOAT64
    precision = oracle.removeprefix(f"{Method.REVERSE_MODE} in ") if judged_as_is else None
    return {**fields, "reason": reason, "message": text, "precision": precision}


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the field {name} of a check is {quoted(value)}")
    return value
