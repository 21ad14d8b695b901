"""Checks shapes as functions are called, against what they are annotated with. The other types are mypy's."""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, checked against those of its annotations that speak of a shape.

    All of them would be too many: what is given a wrong type on purpose is to answer with its own InputError, and
    beartype takes neither an int for a float nor Self outside a class that it decorates.
    """
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if speaks_of_shape(hint)}
    return beartype(function)


def speaks_of_shape(hint: object) -> bool:
    """Whether `hint` is, or has in it, a type such as Float[Tensor, "n j"]."""
    arguments = get_args(hint)
    if arguments:
        return any(map(speaks_of_shape, arguments))
    return isinstance(hint, type) and issubclass(hint, AbstractArray)
