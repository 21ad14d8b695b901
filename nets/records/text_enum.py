"""Enumerations whose members are text: `enum.StrEnum`, which Python has only from 3.11 on."""

from enum import Enum


class TextEnum(str, Enum):
    """A member equals its value, `Verdict.PASS == "pass"`, and prints as it, also in an f-string and in JSON."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)
