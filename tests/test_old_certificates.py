"""Certificates that earlier versions wrote. `tests/certificates` holds some of schema 3, with the text that they
printed."""

import json
from pathlib import Path

import pytest

from nets import Certificate
from nets.records.reason import Reason

KEPT = sorted((Path(__file__).parent / "certificates").glob("schema_3_*.json"))

UNKNOWN_BEFORE = {
    "nets.certificate/1": ("detects_entry", "output", "output_index", "parameter_index", "bound"),
    "nets.certificate/2": ("output", "output_index", "parameter_index", "bound"),
    "nets.certificate/3": (),
}
"""The fields that a check of each schema did not have."""


def as_written_by(schema: str, path: Path) -> str:
    document = json.loads(path.read_text("utf-8")) | {"schema": schema}
    for check in document["checks"]:
        for field in UNKNOWN_BEFORE[schema]:
            del check[field]
    return json.dumps(document)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_certificate_of_schema_3_prints_what_it_printed(path: Path) -> None:
    certificate = Certificate.from_json(path.read_text("utf-8"))
    # A later version adds a line about likely causes.
    assert str(certificate).startswith(path.with_suffix(".txt").read_text("utf-8").strip("\n"))
    again = Certificate.from_json(certificate.to_json())
    assert again == certificate and json.loads(certificate.to_json())["schema"] == "nets.certificate/4"


@pytest.mark.parametrize("schema", UNKNOWN_BEFORE)
@pytest.mark.parametrize(
    ("kept", "reasons"),
    [
        ("fail", {Reason.WRONG_DERIVATIVE}),
        ("kink", {Reason.KINK}),
        ("zero", {Reason.ZERO_EVERYWHERE}),
        ("bfloat16", set()),
        ("network", set()),
    ],
)
def test_the_reason_of_an_older_check_is_read_from_its_text(schema: str, kept: str, reasons: set[Reason]) -> None:
    (path,) = [path for path in KEPT if path.stem == f"schema_3_{kept}"]
    old = json.loads(path.read_text("utf-8"))
    certificate = Certificate.from_json(as_written_by(schema, path))
    assert certificate.verdict == old["verdict"]
    assert reasons <= {check.reason for check in certificate.checks}
    assert [check.message for check in certificate.checks] == [check["reason"] for check in old["checks"]]


def test_fields_that_schema_1_did_not_have_are_absent() -> None:
    """It knew nothing of single entries, and had one index for the output and the parameter together."""
    paths = {path.stem: path for path in KEPT}
    passed = Certificate.from_json(as_written_by("nets.certificate/1", paths["schema_3_network"]))
    now = Certificate.from_json(paths["schema_3_network"].read_text("utf-8"))
    assert passed.detects == now.detects is not None and passed.detects_entry is None
    assert "of the largest" in now.sentence() and "of the largest" not in passed.sentence()
    failed = Certificate.from_json(as_written_by("nets.certificate/1", paths["schema_3_fail"]))
    assert "0.weight, entry [1, 1, 1, 2]" in failed.sentence()


def test_the_precision_of_an_older_check_is_read_from_its_oracle() -> None:
    (path,) = [path for path in KEPT if path.stem == "schema_3_bfloat16"]
    precisions = {check.oracle: check.precision for check in Certificate.from_json(path.read_text("utf-8")).checks}
    assert precisions["reverse mode in bfloat16"] == "bfloat16" and precisions["reverse mode"] is None


@pytest.mark.parametrize("damage", [{"reason": 3}, {"reason": None}, {"oracle": ["reverse mode"]}, {"oracle": 1.5}])
def test_a_damaged_older_check_is_refused(damage: dict) -> None:
    document = json.loads(KEPT[0].read_text("utf-8"))
    document["checks"][-1] |= damage
    with pytest.raises(ValueError, match="the certificate is damaged"):
        Certificate.from_json(json.dumps(document))
