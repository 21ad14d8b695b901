"""Enumerations whose members are text, as `enum.StrEnum` of Python 3.11."""

from enum import Enum


class TextEnum(str, Enum):
    """A member equals its value, `Verdict.PASS == "pass"`, and is printed as its value, in f-strings and JSON too."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)
