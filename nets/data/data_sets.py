"""The table of data sets: each function that makes one enters itself under its name."""

from collections.abc import Callable
from typing import TypeVar

from nets.data.batch import DataSet
from nets.settings import enter

Loader = TypeVar("Loader", bound=Callable[..., DataSet])

DATA_SETS: dict[str, Callable[..., DataSet]] = {}
"""Each data set under its name, as the setting `data` of a run takes it."""


def known_as(name: str) -> Callable[[Loader], Loader]:
    """A decorator that enters a function in DATA_SETS.

    @known_as("two_moons")
    def two_moons(*, samples: int = 200, seed: int = 0) -> DataSet: ...

    Raises:
        InputError: for a name that another data set has.
    """

    def entered(loader: Loader) -> Loader:
        enter(DATA_SETS, name, loader)
        return loader

    return entered
