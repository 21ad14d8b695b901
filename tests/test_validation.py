"""Bad arguments of data sets are refused in one sentence that names the argument. Values come from YAML, so they can
have any type."""

import math
import os
from collections.abc import Sequence
from typing import Any, Optional, Union

import pytest

from nets import settings, validation
from nets.errors import InputError

# Each annotation as written, and as Python 3.10 returns it if the default is None.
UNIONS = [
    (int | None, Optional[int]),  # noqa: UP045
    (float | str, Union[float, str]),  # noqa: UP007
    (str | os.PathLike[str] | None, Union[str, os.PathLike[str], None]),  # noqa: UP007
    (Sequence[int | None] | None, Optional[Sequence[Optional[int]]]),  # noqa: UP045
]


@pytest.mark.parametrize("value", [0, -1, 2.0, "2", None, True])
def test_a_whole_number(value: object) -> None:
    with pytest.raises(InputError, match=r"^samples is .*; expected a whole number of at least 1\.$"):
        validation.whole("samples", value, 1)
    assert validation.whole("samples", 1, 1) == 1


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "0.1", None, False])
def test_a_number_that_is_not_negative(value: object) -> None:
    with pytest.raises(InputError, match=r"^noise is .*; expected a finite number of at least 0\.$"):
        validation.number("noise", value, least=0)
    assert validation.number("noise", 0, least=0) == 0.0


@pytest.mark.parametrize("value", [0, 1, 20, "0.2", None, True])
def test_a_proper_fraction(value: object) -> None:
    with pytest.raises(InputError, match=r"^test_fraction is .*; expected a finite number above 0 and below 1"):
        validation.number("test_fraction", value, above=0, below=1)


@pytest.mark.parametrize("value", ["false", 0, None])
def test_yes_or_no(value: object) -> None:
    with pytest.raises(InputError, match=r"^download is .*; expected True or False\.$"):
        validation.yes_or_no("download", value)


@pytest.mark.parametrize("value", ["Signed", 1, None])
def test_a_choice(value: object) -> None:
    with pytest.raises(InputError, match=r"^targets is .*; expected 'signed' or 'classes'\.$"):
        validation.one_of("targets", value, ("signed", "classes"))


@pytest.mark.parametrize("value", [-1, 2**63, 1.0, "0", None, True])
def test_a_seed(value: object) -> None:
    with pytest.raises(InputError, match=r"^seed is .*; expected a whole number"):
        validation.seeded(value)


@pytest.mark.parametrize("kind", UNIONS, ids=str)
@pytest.mark.parametrize("value", [None, 1, 1.5, "text", True, [1, None], [1.5], math.nan, {}])
def test_a_union_is_the_same_in_either_spelling(value: object, kind: tuple[Any, Any]) -> None:
    written, handed_out = kind
    assert settings.fits(value, handed_out) == settings.fits(value, written)
    assert settings.type_in_words(handed_out) == settings.type_in_words(written)


def test_a_union_takes_what_one_of_its_kinds_takes() -> None:
    optional = Optional[int]  # noqa: UP045
    assert [settings.fits(value, optional) for value in (None, 3, True, 3.0, "3")] == [True, True, False, False, False]
    assert settings.type_in_words(optional) == "a whole number or null"
