"""In a deep module the submodule is named from which a wrong gradient comes."""

import pytest

import nets
from tests.deep import WHERE, gpt


@pytest.mark.parametrize("fault", list(WHERE))
def test_the_module_with_the_fault_is_named(fault: str) -> None:
    certificate = nets.verify(*gpt(fault))
    location = certificate.location
    assert certificate.verdict == "fail" and location is not None, str(certificate)
    assert location.module == WHERE[fault]
    assert certificate.sentence().startswith(f"fail: {location}. ∂Y[")
