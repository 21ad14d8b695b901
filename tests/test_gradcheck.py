"""gradcheck and gradgradcheck beside kinks: the step crosses none, and a fault still fails."""

import pytest
import torch
from quick_gradcheck import quick_gradcheck
from torch import Tensor

import nets
from nets.calculus.layers import ReLU
from nets.records.certificate import Check
from nets.records.reason import Reason
from nets.verification.checks.gradcheck import check_function
from nets.verification.problem.problem import Problem


def _checks(sizes: list[int], gain: float, seed: int) -> list[Check]:
    generator = torch.Generator().manual_seed(seed)
    network = nets.mlp(sizes, activation="relu", gain=gain, generator=generator)
    return check_function(network, Problem(network, (torch.randn(6, sizes[0], generator=generator),), seed=seed))


@pytest.mark.parametrize("sizes", [[4, 6, 3], [3, 8, 8, 2]], ids=str)
@pytest.mark.parametrize("gain", [1.0, 1e-2, 1e-3, 1e-4])
def test_a_rectified_network_with_small_weights_passes(sizes: list[int], gain: float) -> None:
    """Pre-activations of the second layer are of the size gain², and the step has to be smaller than the least of
    them."""
    assert [check.verdict for check in _checks(sizes, gain, seed=1)] == ["pass", "pass"]


@pytest.mark.parametrize("gain", [1.0, 1e-2, 1e-3])
@pytest.mark.parametrize("fast", [False, True])
def test_a_wrong_slope_fails_beside_kinks_as_well(fast: bool, gain: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 % too much, in a network whose kinks are nearer than PyTorch's own step."""
    if fast:
        quick_gradcheck(monkeypatch)
    monkeypatch.setattr(ReLU, "slope", lambda self, z, y: 1.01 * (z > 0))
    first, second = _checks([4, 6, 3], gain, seed=1)
    assert "fail" in (first.verdict, second.verdict), (first, second)


def test_a_wrong_second_derivative_fails_only_gradgradcheck(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slope of tanh with a part of it held for a constant: right itself, and wrong when it is differentiated."""
    from nets.calculus.layers import Tanh

    monkeypatch.setattr(Tanh, "slope", lambda self, z, y: 1 - y * y.detach())
    generator = torch.Generator().manual_seed(0)
    network = nets.mlp([4, 6, 3], generator=generator)
    first, second = check_function(network, Problem(network, (torch.randn(6, 4, generator=generator),)))
    assert (first.verdict, second.verdict) == ("pass", "fail")
    assert "Jacobian mismatch" in second.message


def test_both_tools_are_inconclusive_at_a_kink() -> None:
    network = nets.mlp([2, 3, 1], activation="relu", generator=torch.Generator().manual_seed(0))
    x = torch.zeros(2, 2, dtype=torch.float64)
    first, _ = check_function(network, Problem(network, (x,)))
    assert first.verdict == "inconclusive" and first.reason is Reason.KINK


def test_a_network_with_small_weights_does_not_fail() -> None:
    generator = torch.Generator().manual_seed(0)
    network = nets.mlp([4, 8, 8, 3], activation="relu", gain=1e-3, generator=generator)
    x: Tensor = torch.randn(16, 4, generator=generator)
    certificate = nets.verify(network, x)
    assert certificate.passed, str(certificate)
