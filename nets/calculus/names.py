"""Tables of classes by name, such as the activations and the losses: a class enters itself where it is defined."""

from typing import TypeVar

from nets.errors import InputError

Kind = TypeVar("Kind", bound=type)


def enter(table: dict[str, Kind], name: str | None, kind: Kind) -> None:
    """Put a class into a table under its name; a class without a name, such as a subclass in a test, stays outside.

    Raises:
        InputError: for a name that another class has.
    """
    if name is None:
        return
    if name in table:
        raise InputError(
            f"the name of {kind.__name__} is '{name}', which {table[name].__name__} has; expected another name."
        )
    table[name] = kind
