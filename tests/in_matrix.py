"""What a table checks in `make test`, and what is left to `make matrix`."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def only_in_matrix(value: Any) -> Any:
    """A value of `pytest.mark.parametrize` for `make matrix` alone. A tuple is a row of several values."""
    return pytest.param(*value if isinstance(value, tuple) else (value,), marks=pytest.mark.matrix)


def first_in_test(values: Iterable[Any], count: int = 1) -> list[Any]:
    """The parametrised values: `make test` runs the first `count` of them, `make matrix` all."""
    return [value if place < count else only_in_matrix(value) for place, value in enumerate(values)]


def chosen_in_test(values: Iterable[Any], chosen: Callable[[Any], bool]) -> list[Any]:
    """The parametrised values: `make test` runs the chosen ones, `make matrix` all."""
    return [value if chosen(value) else only_in_matrix(value) for value in values]
