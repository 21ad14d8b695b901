"""Certificates of schemas 1 to 3, which had no `Reason` and no precision: both stood in texts, whose beginnings were
documented."""

from collections.abc import Mapping
from typing import Any

from nets.errors import quoted
from nets.records.loop_reason import LoopReason
from nets.records.method import Method
from nets.records.reason import Explained, Reason

OLDER = ("nets.certificate/1", "nets.certificate/2", "nets.certificate/3")
"""In the first, no check says what it would have seen of a single entry. In the first two, the index of the output and
that of the parameter stand in one list alone. In all three, `reason` is what `message` is now."""

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
"""How the text began → what it meant."""


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
