"""A view of a Jacobian shows that Jacobian: every entry for one sample, or its norm over samples and outputs."""

import numpy as np
import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.layers import Linear, Tanh
from nets.records.jacobian_view import JacobianView
from nets.verification import side_by_side
from nets.verification.side_by_side import jacobian_views
from tests.cases import NETWORKS, Case


def dense(case: Case) -> dict[str, np.ndarray]:
    """∂Y_nk/∂p by torch.func.jacrev, (N, K, *p.shape); of the input, by the row of the same sample."""
    named = {name: p.detach() for name, p in case.network.named_parameters()}
    found = torch.func.jacrev(lambda p: torch.func.functional_call(case.network, p, (case.x,)))(named) if named else {}
    by_input = torch.func.vmap(torch.func.jacrev(lambda row: case.network(row[None])[0]))(case.x)
    return {name: j.numpy() for name, j in {**found, "input": by_input.detach()}.items()}


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_a_small_jacobian_is_shown_for_the_first_sample(case: Case) -> None:
    expected = dense(case)
    found = jacobian_views(case.network, case.x)
    assert [one.parameter for one in found] == list(expected)
    for one in found:
        jacobian = expected[one.parameter]
        first = jacobian[0].reshape(-1, jacobian.shape[-1])
        assert one.signed and one.shown.startswith("sample 0; rows k")
        np.testing.assert_allclose(one.closed, first, atol=1e-14)
        np.testing.assert_allclose(one.reverse, first, atol=1e-14)
        assert np.array_equal(one.difference, one.closed - one.reverse)
        assert one.largest == pytest.approx(np.abs(jacobian).max()) and one.apart < 1e-14
        assert one.entries == jacobian.size
        assert "∂Y_k/∂" in one.formula


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_a_large_jacobian_is_shown_by_its_norm(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "MOST_ROWS", 0)
    samples, outputs = case.network(case.x).shape
    for one in jacobian_views(case.network, case.x):
        norm = np.sqrt((dense(case)[one.parameter] ** 2).sum((0, 1)))
        assert not one.signed
        assert one.shown.startswith(f"norm over {samples} sample{'s' if samples > 1 else ''} and {outputs} outputs; ")
        np.testing.assert_allclose(one.closed, norm.reshape(one.closed.shape), atol=1e-14)
        np.testing.assert_allclose(one.reverse, norm.reshape(one.closed.shape), atol=1e-14)
        assert one.closed.shape == ((1, *norm.shape) if norm.ndim == 1 else norm.shape)


@pytest.mark.parametrize("rows", [0, 128])
def test_a_wrong_slope_shows_in_the_difference(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Unit 2 of the last layer passes nothing back: row 2 of the weight, entry 2 of the bias, and nothing else of them,
    # is off.
    def slope(self: Tanh, z: Tensor, y: Tensor) -> Tensor:
        return (1 - y * y) * (torch.arange(y.shape[-1]) != 2)

    monkeypatch.setattr(side_by_side, "MOST_ROWS", rows)
    monkeypatch.setattr(Tanh, "slope", slope)
    network = nets.Network([Linear(5, 4), Tanh()])
    weight, bias, _ = jacobian_views(network, torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) + 0.5)
    off = abs(weight.difference.reshape(-1, 4, 5)) > 1e-12
    assert off[..., 2, :].any() and not np.delete(off, 2, -2).any()
    off = abs(bias.difference) > 1e-12
    assert off[..., 2].any() and not np.delete(off, 2, -1).any()
    # The true slope is 1 − Y², and the wrong one is 0: the difference is as large as the right Jacobian.
    assert weight.apart > 0.1 and weight.apart <= weight.largest


def test_the_view_names_the_outputs_that_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = nets.mlp([3, 4, 6], "tanh", "identity"), torch.ones(5, 3)
    monkeypatch.setattr(side_by_side, "MOST_OUTPUTS", 2)
    whole = {one.parameter: one for one in jacobian_views(network, x)}
    assert whole["0.weight"].shown == "sample 0, the first 2 of 6 outputs k; rows k, i; columns j"
    assert whole["0.weight"].closed.shape == (2 * 4, 3) and whole["0.weight"].entries == 5 * 2 * 4 * 3
    monkeypatch.setattr(side_by_side, "MOST_COMPARED_ENTRIES", 1)
    monkeypatch.setattr(side_by_side, "MOST_ROWS", 0)
    fewer = {one.parameter: one for one in jacobian_views(network, x)}
    assert fewer["0.weight"].shown == "norm over 1 sample and the first 2 of 6 outputs; rows i, columns j"
    assert fewer["0.bias"].shown.endswith("; columns i") and fewer["input"].shown.endswith("; columns j")
    assert fewer["0.weight"].entries == 1 * 2 * 4 * 3


def test_a_float32_network_is_shown_in_float64_and_is_unchanged() -> None:
    network = nets.mlp([3, 2], "tanh")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found: tuple[JacobianView, ...] = jacobian_views(network, torch.ones(2, 3))
    assert all(one.apart < 1e-15 for one in found)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in network.parameters())
