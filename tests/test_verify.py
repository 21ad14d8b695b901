"""Right networks pass, wrong derivatives fail at the wrong entry, and the module of the caller does not change."""

import copy
import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Linear, Tanh
from nets.records.certificate import Check
from nets.records.reason import Reason
from tests.cases import ACTIVATION_NAMES, NETWORKS, Case
from tests.in_matrix import first_in_test

CASE = next(case for case in NETWORKS if case.name == "tanh of linear")
DERIVATIONS = {"reverse mode", "forward mode", "central difference", "gradcheck", "gradgradcheck"}


def _check(certificate: nets.Certificate, parameter: str, against: str) -> Check:
    return next(c for c in certificate.checks if (c.parameter, c.against) == (parameter, against))


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_right_networks_pass(case: Case) -> None:
    certificate = nets.verify(case.network, case.x)
    assert certificate.passed, str(certificate)
    assert {check.against for check in certificate.checks} == DERIVATIONS
    names = [*dict(case.network.named_parameters()), "input"]
    assert list(dict.fromkeys(check.parameter for check in certificate.checks)) == [*names, "all"]


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
@pytest.mark.parametrize("seed", first_in_test(range(3)))
def test_every_activation_passes_in_a_network(name: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    network = nets.mlp([4, 5, 3], activation=name, output=name, generator=generator)
    for parameter in network.parameters():
        # With biases of zero a sample whose hidden units are all dead would put the last ReLU on its kink.
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    certificate = nets.verify(network, torch.randn(3, 4, generator=generator), seed=seed)
    assert certificate.passed, str(certificate)


def test_every_entry_is_counted() -> None:
    """N = 4, J = 5, K = I = 3: ∂Y/∂W has 4·3·3·5 entries, ∂Y/∂B 4·3·3, ∂Y/∂X with all pairs of samples 4·3·4·5."""
    certificate = nets.verify(CASE.network, CASE.x)
    entries = {check.parameter: check.entries for check in certificate.checks if check.worst_index is not None}
    assert entries == {"0.weight": 180, "0.bias": 36, "input": 240}
    assert certificate.entries == 456


def test_derivations_differ_by_rounding_errors_only() -> None:
    """Reverse and forward mode agree with the closed form to a few units in the last place, differences to 1e-9."""
    for check in nets.verify(CASE.network, CASE.x).checks:
        if check.max_abs_error is not None:
            assert check.max_abs_error < (1e-9 if check.against == "central difference" else 1e-14)
            assert check.detects is not None and check.detects < 1e-8
            assert check.tolerance is not None and check.tolerance < 1e-8


WRONG: dict[str, tuple[type, str, Callable[..., object], str]] = {
    "sign": (Tanh, "slope", lambda self, z, y: y * y - 1, "0.weight"),
    "missing square": (Tanh, "slope", lambda self, z, y: 1 - y, "0.weight"),
    "a millionth off": (Tanh, "slope", lambda self, z, y: (1 - y * y) * (1 + 1e-6), "0.weight"),
    "zero": (Tanh, "slope", lambda self, z, y: torch.zeros_like(y), "0.weight"),
    "only where Z < 0": (Tanh, "slope", lambda self, z, y: (1 - y * y) * torch.where(z < 0, 1.01, 1.0), "0.weight"),
    "transposed pullback": (Linear, "pullback", lambda self, v, x, y: v @ self.weight.flip(0), "input"),
}


@pytest.mark.parametrize("fault", list(WRONG))
def test_a_wrong_derivative_fails_every_comparison(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, method, wrong, parameter = WRONG[fault]
    monkeypatch.setattr(kind, method, wrong)
    certificate = nets.verify(CASE.network, CASE.x)
    assert certificate.verdict == "fail" and not certificate.passed
    for against in ("reverse mode", "forward mode", "central difference"):
        assert _check(certificate, parameter, against).verdict == "fail"


def test_the_worst_entry_is_named_with_both_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry of the gradient with respect to W is doubled: the sentence names it, its value and the expected one."""
    dense = nets.jacobians(CASE.network, CASE.x)["0.weight"].dense()
    right = dense[2, 1, 1, 3].item()
    from nets.calculus.jacobian import WeightJacobian

    original = WeightJacobian.dense

    def wrong(self: WeightJacobian) -> Tensor:
        entries = original(self).clone()
        entries[2, 1, 1, 3] *= 2
        return entries

    monkeypatch.setattr(WeightJacobian, "dense", wrong)
    certificate = nets.verify(CASE.network, CASE.x)
    check = _check(certificate, "0.weight", "central difference")
    assert (check.verdict, check.worst_index, check.wrong) == ("fail", (2, 1, 1, 3), 1)
    assert check.expected == pytest.approx(right, rel=1e-9) and check.actual == pytest.approx(2 * right, rel=1e-12)
    assert "∂Y[2, 1] / ∂0.weight[1, 3]: closed form gives " in certificate.sentence()
    with pytest.raises(nets.GradientError, match=r"∂Y\[2, 1\] / ∂0\.weight\[1, 3\]"):
        certificate.raise_if_failed()


def test_a_wrong_function_fails_gradcheck_even_where_the_jacobians_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Linear.gradients
    monkeypatch.setattr(
        Linear, "gradients", lambda self, v, x, y: {n: g * 2 for n, g in original(self, v, x, y).items()}
    )
    certificate = nets.verify(CASE.network, CASE.x)
    assert _check(certificate, "all", "gradcheck").verdict == "fail"
    assert certificate.location is not None and certificate.location.methods == ("gradients",)


def test_a_saturated_tanh_with_an_all_zero_derivative_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """At Z = 9 the slope is 6.1e-8; gradcheck's absolute tolerance of 1e-5 accepts zero there."""
    network = nets.mlp([1, 1], generator=torch.Generator().manual_seed(0)).double()
    network.load_state_dict({"0.weight": torch.tensor([[1.0]]), "0.bias": torch.tensor([0.0])})
    x = torch.tensor([[9.0]], dtype=torch.float64)
    assert nets.verify(network, x).passed
    monkeypatch.setattr(Tanh, "slope", lambda self, z, y: torch.zeros_like(y))
    certificate = nets.verify(network, x)
    assert _check(certificate, "0.weight", "central difference").verdict == "fail"
    assert _check(certificate, "all", "gradcheck").verdict == "pass"


def test_a_gradient_below_the_noise_is_inconclusive_and_never_passes() -> None:
    """At Z = 16.5 the slope is 1.9e-14: no difference of outputs of size 1 distinguishes it from zero."""
    network = nets.mlp([1, 1]).double()
    network.load_state_dict({"0.weight": torch.tensor([[1.0]]), "0.bias": torch.tensor([0.0])})
    certificate = nets.verify(network, torch.tensor([[16.5]], dtype=torch.float64))
    assert certificate.verdict == "inconclusive" and not certificate.passed
    with pytest.raises(nets.GradientError, match="inconclusive"):
        certificate.raise_if_failed()


def test_a_dead_unit_has_a_gradient_of_zero_and_passes() -> None:
    network = nets.mlp([2, 2], output="relu").double()
    network[0].bias.data.fill_(-100.0)
    certificate = nets.verify(network, torch.ones(2, 2, dtype=torch.float64))
    assert certificate.passed
    assert _check(certificate, "0.weight", "central difference").reason is Reason.ZERO_EVERYWHERE


def test_verify_changes_neither_the_module_nor_the_random_state() -> None:
    network = nets.mlp([3, 4, 2], generator=torch.Generator().manual_seed(1))
    network.eval()
    network[0].weight.grad = torch.full((4, 3), 7.0)
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(2), requires_grad=True)
    before, state, numbers = copy.deepcopy(network.state_dict()), torch.random.get_rng_state(), x.detach().clone()
    nets.verify(network, x)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(network[0].weight.grad, torch.full((4, 3), 7.0)) and network[0].bias.grad is None
    assert not network.training and network[0].weight.dtype is torch.float32
    assert x.grad is None and torch.equal(x.detach(), numbers)


def test_the_same_seed_gives_the_same_certificate() -> None:
    first, again = (nets.verify(CASE.network, CASE.x, seed=3).to_json() for _ in range(2))
    assert first == again


def test_the_json_has_every_check() -> None:
    certificate = nets.verify(CASE.network, CASE.x)
    document = json.loads(certificate.to_json())
    assert document["schema"] == "nets.certificate/4"
    assert document["verdict"] == "pass"
    assert document["formulas"]["0.weight"] == "∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j"
    assert len(document["checks"]) == len(certificate.checks)
    check = document["checks"][0]
    assert (
        check["worst_index"]
        == list(certificate.checks[0].worst_index or ())
        == check["output_index"] + check["parameter_index"]
    )
    assert check["output"] == "Y" and [len(check["output_index"]), len(check["parameter_index"])] == [2, 2]


def test_the_table_has_a_row_and_a_formula_for_each_parameter() -> None:
    lines = str(nets.verify(CASE.network, CASE.x)).splitlines()
    assert lines[0].strip() == "largest error of the closed form against"
    assert lines[1].split() == ["parameter", "entries", "reverse", "forward", "difference", "verdict"]
    assert [line.split()[0] for line in lines[2:8:2]] == ["0.weight", "0.bias", "input"]
    assert [line.strip().split("   worst entry ∂Y[")[0] for line in lines[3:8:2]] == [
        "∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j",
        "∂Y_k/∂B_i = δ_ki (1 − Y_k²)",
        "∂Y_k/∂X_j = (1 − Y_k²) W_kj",
    ]
    assert all(line.endswith("pass") for line in lines[2:8:2])


def test_the_backward_pass_of_a_torch_module_is_verified() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
    certificate = nets.verify(module, CASE.x[:, :4])
    assert certificate.passed
    assert {check.oracle for check in certificate.checks} == {"reverse mode"}


@pytest.mark.parametrize("x", [torch.tensor([[1.0, torch.nan, 0, 0, 0]]), torch.tensor([[1.0, torch.inf, 0, 0, 0]])])
def test_an_input_with_nan_is_refused(x: Tensor) -> None:
    with pytest.raises(nets.InputError, match="input has an entry that is not finite"):
        nets.verify(CASE.network, x)


def test_gradcheck_is_inconclusive_at_a_kink() -> None:
    """Zero inputs and zero biases put every ReLU at Z = 0."""
    certificate = nets.verify(nets.mlp([2, 4, 1], activation="relu", output="identity"), torch.zeros(2, 2))
    assert certificate.verdict == "inconclusive"
    assert certificate.decisive.reason is Reason.KINK


def test_a_frozen_parameter_is_not_checked() -> None:
    network = nets.mlp([3, 2], generator=torch.Generator().manual_seed(0))
    network[0].weight.requires_grad_(False)
    certificate = nets.verify(network, torch.randn(2, 3, generator=torch.Generator().manual_seed(1)))
    assert certificate.passed and "0.weight" not in {check.parameter for check in certificate.checks}


def test_an_argument_other_than_a_module_is_refused() -> None:
    with pytest.raises(nets.InputError, match=r"verify was given a int; expected a torch\.nn\.Module"):
        nets.verify(5, torch.ones(1))  # type: ignore[arg-type]
    with pytest.raises(nets.InputError, match=r"the network is a Linear; .*from_torch"):
        nets.jacobians(nn.Linear(2, 2), torch.ones(1, 2))  # type: ignore[arg-type]
