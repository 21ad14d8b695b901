"""What data sets refuse, each in one sentence that names the argument. Values arrive from YAML, so of any type."""

import math

import pytest

from nets.data import arguments
from nets.errors import InputError


@pytest.mark.parametrize("value", [0, -1, 2.0, "2", None, True])
def test_a_whole_number(value: object) -> None:
    with pytest.raises(InputError, match=r"^samples=.* was given where a whole number of at least 1 is expected\.$"):
        arguments.whole("samples", value, 1)
    assert arguments.whole("samples", 1, 1) == 1


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "0.1", None, False])
def test_a_number_that_is_not_negative(value: object) -> None:
    with pytest.raises(InputError, match=r"^noise=.* was given where a finite number of at least 0 is expected\.$"):
        arguments.non_negative("noise", value)
    assert arguments.non_negative("noise", 0) == 0.0


@pytest.mark.parametrize("value", [0, 1, 20, "0.2", None, True])
def test_a_proper_fraction(value: object) -> None:
    with pytest.raises(InputError, match=r"^test_fraction=.* was given where a number between 0 and 1"):
        arguments.proper_fraction("test_fraction", value)


@pytest.mark.parametrize("value", ["false", 0, None])
def test_yes_or_no(value: object) -> None:
    with pytest.raises(InputError, match=r"^download=.* was given where true or false is expected\.$"):
        arguments.yes_or_no("download", value)


@pytest.mark.parametrize("value", ["Signed", 1, None])
def test_a_choice(value: object) -> None:
    with pytest.raises(InputError, match=r"^targets=.* was given where 'signed' or 'classes' is expected\.$"):
        arguments.one_of("targets", value, ("signed", "classes"))


@pytest.mark.parametrize("value", [-1, 2**63, 1.0, "0", None, True])
def test_a_seed(value: object) -> None:
    with pytest.raises(InputError, match=r"^seed=.* was given where a whole number from 0"):
        arguments.seeded(value)
