"""The code of a function, for a reader of a notebook."""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def source(definition: Callable[..., Any]) -> str:
    """The code of a function, a method or a class of the library, which is the code that runs."""
    return textwrap.dedent(inspect.getsource(definition)).rstrip()
