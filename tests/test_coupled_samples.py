"""The search for layers whose output for one sample depends on other samples."""

from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.checks import FEW_SAMPLES, grouped_cotangents
from nets.records.method import Method
from nets.verification.derivations.engines import OutOfReachError, available
from tests.test_protocol import EXACT, by_autograd, descents, normalised


class Mixture(nets.Layer):
    """Y_ni = Σ_m M_nm X_mi."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix.double())

    def function(self, m: Any, x: Any, matrix: Any) -> Any:
        return matrix @ x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.matrix.mT @ v


@pytest.mark.parametrize(
    "matrix",
    [torch.ones(4, 4).tril(), torch.ones(4, 4).triu(), torch.eye(4)[[0, 2, 1, 3]], torch.eye(4) + torch.eye(4)[[3]].T],
    ids=["earlier samples", "later samples", "a pair in the middle", "all on one"],
)
def test_a_dependence_between_samples_is_found_in_any_direction(matrix: Tensor) -> None:
    network, x = normalised(lambda: Mixture(matrix))
    found = nets.jacobians(network, x)
    for name, dense in by_autograd(network, x).items():
        torch.testing.assert_close(found[name].dense(), dense, **EXACT)
    assert nets.verify(network, x).passed
    with pytest.raises(nets.InputError, match=r"layer 1, a Mixture, .*; explain expected"):
        nets.explain(network, x, "0.weight", (0, 0))
    with pytest.raises(nets.InputError, match=r"layer 1, a Mixture, .*; sample_norms expected"):
        descents(network, x, sample_norms=True)
    with pytest.raises(OutOfReachError, match="layer 1 makes the outputs for one sample depend on others"):
        available()[Method.NUMPY](network, x)


def test_groups_of_samples_part_every_two_samples_of_a_few_and_halve_many() -> None:
    for samples in (2, 3, 4, 5, 33, FEW_SAMPLES):
        groups, v = grouped_cotangents(torch.zeros(samples, 2))
        assert torch.equal(v.ne(0).all(2), groups) and torch.equal(v.ne(0).any(2), groups)
        parted = (groups[:, :, None] & ~groups[:, None]).any(0)
        assert torch.equal(parted, ~torch.eye(samples, dtype=torch.bool))
    groups, _ = grouped_cotangents(torch.zeros(FEW_SAMPLES + 1, 2))
    assert groups.sum(1).tolist() == [FEW_SAMPLES // 2, FEW_SAMPLES // 2 + 1] and groups.any(0).all()
