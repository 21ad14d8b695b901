"""check_accumulation on loops of each kind that it once took for something else: the right ones pass, the wrong ones are named."""

import re

import pytest
import torch

import nets
from tests.odd_batches import Kind
from tests.right_loops_by_kind import RIGHT_KINDS
from tests.test_checker import EACH_SEED
from tests.wrong_loops_by_kind import WRONG_KINDS


def judged(kind: Kind, seed: int) -> nets.Certificate:
    module, loss, micro_batches, loop = kind.make(torch.Generator().manual_seed(seed))
    return nets.check_accumulation(module, loss, micro_batches, loop, seed=seed)


@pytest.mark.parametrize("kind", RIGHT_KINDS, ids=str)
@EACH_SEED
def test_a_right_loop_of_its_kind_passes(kind: Kind, seed: int) -> None:
    certificate = judged(kind, seed)
    assert certificate.passed, str(certificate)
    assert re.search(kind.said, str(certificate)), str(certificate)
    assert certificate.detects is not None and certificate.detects < 1e-3


@pytest.mark.parametrize("kind", WRONG_KINDS, ids=str)
@EACH_SEED
def test_a_wrong_loop_of_its_kind_is_named(kind: Kind, seed: int) -> None:
    certificate = judged(kind, seed)
    assert certificate.verdict == "fail", str(certificate)
    assert any(check.verdict == "fail" for check in certificate.checks)
    assert re.search(kind.said, certificate.sentence()), certificate.sentence()
