"""Settings of a run, as a YAML file gives them. Each is compared with the signature of the function that takes it."""

import difflib
import inspect
import json
import math
import os
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from nets.errors import InputError

UNIONS = (types.UnionType, Union)
"""What `get_origin` returns for `int | None`. Python 3.10's `get_type_hints` writes it as `typing.Optional[int]` for
each parameter whose default is None."""

MOST_LISTED = 20
"""Alternatives that an error lists."""


def call(function: Callable[..., Any], settings: Mapping[str, Any], section: str = "", **given: Any) -> Any:
    """`function(**settings, **given)`, where every setting is an argument of the function and has the annotated type.

    Raises:
        InputError: for a setting that is unknown, missing, or of another type.
    """
    prefix = f"{section}." if section else ""
    parameters = {name: p for name, p in inspect.signature(function).parameters.items() if name not in given}
    annotated = function.__init__ if inspect.isclass(function) else function
    kinds = dict.fromkeys(parameters, object) | get_type_hints(annotated)
    for name in settings:
        if name not in parameters:
            known = [prefix + parameter for parameter in parameters]
            raise InputError(f"'{prefix}{name}' is not a setting; {suggestion(prefix + name, known)}")
    for name, parameter in parameters.items():
        expected = type_in_words(kinds[name])
        if name not in settings and parameter.default is parameter.empty:
            raise InputError(f"'{prefix}{name}' is missing; expected {expected}: set it, as {prefix}{name}=VALUE.")
        if name in settings and not fits(settings[name], kinds[name]):
            shown = json.dumps(settings[name], ensure_ascii=False)
            raise InputError(f"{prefix}{name} is {shown}; expected {expected}.")
    return function(**settings, **given)


def suggestion(word: str, known: Sequence[str]) -> str:
    """The known word nearest to a misspelt one, or the list of them where it is short."""
    near = difflib.get_close_matches(word, known, n=1)
    listed = (
        f"expected one of {', '.join(known)}." if 0 < len(known) < MOST_LISTED else "python train.py --help lists them."
    )
    return f"did you mean '{near[0]}'?" if near else listed


def fits(value: Any, kind: Any) -> bool:
    """Whether a value from YAML has the annotated type. NaN and infinity are not accepted: no setting has a use for
    them."""
    if get_origin(kind) in UNIONS:
        return any(fits(value, one) for one in get_args(kind))
    if get_origin(kind) is Sequence:
        return isinstance(value, list) and all(fits(entry, get_args(kind)[0]) for entry in value)
    if kind is float:
        return fits(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, get_origin(kind) or kind) and (kind in (bool, object) or not isinstance(value, bool))


def type_in_words(kind: Any) -> str:
    """An annotated type in English."""
    words = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", object: "a value"}
    if get_origin(kind) in UNIONS:
        return " or ".join(
            type_in_words(one) for one in get_args(kind) if get_origin(one) not in (os.PathLike, Callable)
        )
    if get_origin(kind) is Sequence:
        return f"a list in which each entry is {type_in_words(get_args(kind)[0])}"
    return words.get(kind, "a section of settings" if kind is dict else "null")


def enter(table: dict[str, Any], name: str | None, made: Callable[..., Any]) -> None:
    """Put a class or a function into a table under the name that settings give it; without a name, such as a subclass
    in a test, it is left out.

    Raises:
        InputError: for a name that another one has.
    """
    if name is None:
        return
    if name in table:
        raise InputError(
            f"the name of {made.__name__} is '{name}', which {table[name].__name__} has; expected another name."
        )
    table[name] = made
