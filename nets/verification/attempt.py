"""Try a derivation that a module may not have: no forward-mode rule, an operation that cannot be batched, no complex
form."""

import contextlib
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from nets.errors import InputError
from nets.text import one_line
from nets.torch_internals import no_vmap_warnings

T = TypeVar("T")

OWN_CODE = Path(__file__).parent
"""The folder of `nets.verification`. An error that is raised in this code, and is of no type that PyTorch raises for a
module, is a defect of it."""


@dataclass(frozen=True, slots=True)
class Available(Generic[T]):
    """What a derivation gave."""

    value: T

    def or_none(self) -> T | None:
        return self.value


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why the module has no such derivation."""

    error: Exception

    @property
    def why(self) -> str:
        return f"{type(self.error).__name__}: {one_line(self.error)}"

    def or_none(self) -> None:
        return None


def attempt(derivation: Callable[[], T]) -> Available[T] | Unavailable:
    """What a derivation gives, or why the module does not have it.

    PyTorch raises RuntimeError or NotImplementedError where an operation lacks a rule. Code of the module or of PyTorch
    may raise any error when it runs under a transform. Every other error is a defect of `nets.verification` and is
    raised: a misspelt name must not look like a module without forward mode.
    """
    try:
        with quiet():
            return Available(derivation())
    except Exception as error:
        if is_own_defect(error):
            raise
        return Unavailable(error)


@contextlib.contextmanager
def callers_errors_as(refusal: Callable[[Exception], InputError]) -> Iterator[None]:
    """Within this context an error of the module, or of PyTorch in running it, is raised as the InputError that
    `refusal` makes of it. An InputError, and a defect of `nets.verification`, are raised as they are."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if is_own_defect(error):
            raise
        raise refusal(error) from error


def is_own_defect(error: Exception) -> bool:
    """Whether an error is a defect of `nets.verification`, and not one of the module or of PyTorch in running it."""
    of_the_module = isinstance(error, RuntimeError | NotImplementedError | InputError)
    return not of_the_module and _began_in_own_code(error)


def _began_in_own_code(error: Exception) -> bool:
    """Whether the innermost Python function that an error passed through is one of `nets.verification`."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return Path(frames[-1].f_code.co_filename).is_relative_to(OWN_CODE)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence PyTorch's warnings about its own batching rules and its deprecated compiler: the user cannot act on
    them."""
    with warnings.catch_warnings(), no_vmap_warnings():
        warnings.simplefilter("ignore")
        yield
