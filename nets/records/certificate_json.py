"""Reads a certificate from JSON. A document that could not be shown, printed or written again is refused."""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from nets.errors import quoted
from nets.records.check import Check
from nets.records.json_fields import fields_of
from nets.records.loop_reason import LoopReason
from nets.records.method import named
from nets.records.older_schemas import OLDER, upgraded
from nets.records.reason import Reason
from nets.records.text_enum import TextEnum
from nets.records.verdict import Verdict

SCHEMA = "nets.certificate/4"
"""The schema that `Certificate.to_json` writes, see docs/certificate.md. It is increased when a field is added, removed
or changed in meaning."""

READABLE = (*OLDER, SCHEMA)
"""The schemas that `Certificate.from_json` reads."""

MEASURES = (
    "max_abs_error",
    "max_rel_error",
    "expected",
    "actual",
    "tolerance",
    "detects",
    "detects_entry",
    "ulp",
    "bound",
)
"""The fields of a check that are a number or None."""

FIELD_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("parameter", "oracle", "against", "message", "verdict"), (str,)),
    **dict.fromkeys(("entries", "wrong"), (int,)),
    **dict.fromkeys(("worst_index", "output_index", "parameter_index"), (list, type(None))),
    **dict.fromkeys(("output", "precision", "reason"), (str, type(None))),
}
"""The types of the other fields in JSON."""

ENUMERATIONS: dict[str, tuple[type[TextEnum], ...]] = {"verdict": (Verdict,), "reason": (Reason, LoopReason)}
"""The fields of a check that are members of an enumeration, or of one of several."""

DERIVATIONS = ("oracle", "against")
"""The fields of a check that name a derivation."""

SHOWN = ("max_abs_error", "max_rel_error", "expected", "actual", "tolerance")
"""The numbers of a check that has an entry to show."""


def parsed(text: str) -> dict[str, Any]:
    """The object in a text.

    Raises:
        ValueError: if it is not a text, not JSON or not an object; if it is nested too deeply for Python's parser, has
            a key twice, a number that is not finite or has more than 64 bits, or characters that UTF-8 does not have.
    """
    if not isinstance(text, str | bytes | bytearray):
        raise ValueError(f"it is a {type(text).__name__}, and no text")
    try:
        found = json.loads(
            text,
            parse_float=_finite,
            parse_int=_whole,
            parse_constant=_no_number,
            object_pairs_hook=_with_different_keys,
        )
        # JSON can contain half of a surrogate pair, which can be neither printed nor saved.
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON at line {error.lineno}, column {error.colno}") from error
    except UnicodeError as error:
        raise ValueError("it has bytes or surrogates that are no text in UTF-8") from error
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond double precision")
    return number


def _whole(text: str) -> int:
    # Longer numbers are not parsed: for more than 4,300 digits Python raises an error of its own.
    number = int(text) if len(text) <= 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{text[:40]} takes more than 64 bits")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _with_different_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in [other for other, _ in pairs[:number]])
        raise ValueError(f"the key '{twice[:40]}' occurs twice in one object")
    return found


def checks_of(document: Mapping[str, Any]) -> tuple[Check, ...]:
    """The checks of a certificate; there is at least one.

    Raises:
        ValueError: if there are none, or a field has a value that no check can have.
    """
    checks = document.get("checks")
    if not isinstance(checks, list) or not checks:
        raise ValueError(f"checks is {quoted(checks)} and no list with a check")
    return tuple(_check(check, document["schema"]) for check in checks)


def _check(given: Any, schema: str) -> Check:
    current = given if schema == SCHEMA or not isinstance(given, dict) else upgraded(given)
    read = {name: _read(name, value) for name, value in fields_of(Check, "a check", current).items()}
    if read["worst_index"] is not None and None in [read[name] for name in SHOWN]:
        raise ValueError(f"the check of {quoted(read['parameter'])} shows an entry without its numbers")
    return Check(**read)


def texts(document: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The formulas and the notes of a certificate.

    Raises:
        ValueError: if there are none.
    """
    formulas, notes = document.get("formulas"), document.get("notes")
    if not isinstance(formulas, dict) or not isinstance(notes, list):
        raise ValueError("expected formulas as an object and notes as a list")
    if not all(isinstance(text, str) for text in (*formulas.values(), *notes)):
        raise ValueError("expected texts as formulas and notes")
    return formulas, tuple(notes)


def declared_tolerance(document: Mapping[str, Any]) -> float | None:
    """The tolerance that the caller declared; None if there is none.

    Raises:
        ValueError: if it is not a number between 0 and 1.
    """
    tolerance = document.get("tolerance")
    if tolerance is None:
        return None
    if not isinstance(tolerance, float) or not 0 < tolerance < 1:
        raise ValueError(f"the tolerance is {quoted(tolerance)}")
    return tolerance


def _read(name: str, value: Any) -> Any:
    read = float(value) if value in ("inf", "-inf", "nan") and name in MEASURES else value
    kinds = (int, float, type(None)) if name in MEASURES else FIELD_TYPES[name]
    entries = value if isinstance(value, list) else []
    # In Python, True is an int.
    odd = [one for one in (read, *entries) if isinstance(one, bool)]
    if odd or not isinstance(read, kinds) or not all(isinstance(one, str | int) for one in entries):
        raise ValueError(f"the field {name} of a check is {quoted(value)}")
    if name in ENUMERATIONS and read is not None:
        members = [kind(read) for kind in ENUMERATIONS[name] if read in list(kind)]
        if not members:
            raise ValueError(f"{quoted(value)} is no {name} of a check")
        return members[0]
    if name in DERIVATIONS:
        return named(str(read))
    return tuple(value) if isinstance(value, list) else read
