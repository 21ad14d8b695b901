"""A record from a JSON object: whether it has the fields of the record, and no others."""

from dataclasses import MISSING, fields
from typing import Any

from nets.errors import quoted


def fields_of(record: type, name: str, value: Any) -> dict[str, Any]:
    """The JSON object as the fields of a record.

    Args:
        record: a dataclass.
        name: of the value, for the error.
        value: from the JSON document.

    Raises:
        ValueError: unless it is an object that has each field without a default, and no other fields.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {quoted(value)} and no object")
    known = {field.name: field.default is MISSING and field.default_factory is MISSING for field in fields(record)}
    unknown = [key for key in value if key not in known]
    missing = [key for key, required in known.items() if required and key not in value]
    if unknown or missing:
        raise ValueError(
            f"{name} has the unknown field {quoted(unknown[0])}" if unknown else f"{name} has no {missing[0]}"
        )
    return value
