"""check_accumulation on kinds of loops that earlier versions misjudged: right loops pass, wrong loops fail with their
reason."""

import re

import pytest
import torch

import nets
from nets.records.verdict import Verdict
from tests.odd_batches import Kind
from tests.right_loops_by_kind import RIGHT_KINDS
from tests.test_checker import EACH_SEED
from tests.wrong_loops_by_kind import WRONG_KINDS


def judged(kind: Kind, seed: int) -> nets.Certificate:
    module, loss, micro_batches, loop = kind.make(torch.Generator().manual_seed(seed))
    return nets.check_accumulation(module, loss, micro_batches, loop, seed=seed)


@pytest.mark.parametrize("kind", RIGHT_KINDS, ids=str)
@EACH_SEED
def test_a_right_loop_passes(kind: Kind, seed: int) -> None:
    certificate = judged(kind, seed)
    assert certificate.passed, str(certificate)
    assert re.search(kind.facts, str(certificate)), str(certificate)
    assert certificate.detects is not None and certificate.detects < 1e-3


@pytest.mark.parametrize("kind", WRONG_KINDS, ids=str)
@EACH_SEED
def test_a_wrong_loop_fails_with_its_reason(kind: Kind, seed: int) -> None:
    certificate = judged(kind, seed)
    assert certificate.verdict == Verdict.FAIL, str(certificate)
    assert {check.reason for check in certificate.checks if check.verdict == Verdict.FAIL} == {kind.reason}, str(
        certificate
    )
    assert re.search(kind.facts, certificate.sentence()), certificate.sentence()
