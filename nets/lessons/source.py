"""The code of a function, for a reader of a notebook."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """Python, shown as it stands in the library."""

    code: str

    def __str__(self) -> str:
        return self.code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"


def source(definition: Callable[..., Any]) -> Source:
    """The code of a function, a method or a class, so that what is shown is what was run."""
    return Source(textwrap.dedent(inspect.getsource(definition)).rstrip())
