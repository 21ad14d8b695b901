"""Modules too large for every entry: random directions see faults that gradcheck's fast mode passes, and state their
power."""

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.records.reason import Reason
from nets.verification.noise.output_noise import output_floor
from nets.verification.probing.bisection import located
from nets.verification.probing.probe import Move
from nets.verification.probing.prober import Prober
from nets.verification.problem.problem import Problem
from nets.verification.verify import MOST_ENTRYWISE_NUMBERS

FAULTS = {
    "zeroed row": lambda g: g.index_fill(0, torch.tensor([7]), 0.0),
    "flipped row": lambda g: g.index_copy(0, torch.tensor([7]), -g[7:8]),
    "zeroed column": lambda g: g.index_fill(1, torch.tensor([5]), 0.0),
    "rolled rows": lambda g: g.roll(1, 0),
    "one zeroed entry": lambda g: g.index_put((torch.tensor([7]), torch.tensor([30])), torch.zeros(1, dtype=g.dtype)),
    "a millionth too large": lambda g: g * (1 + 1e-6),
    "wrong sign": lambda g: -g,
    "nothing": lambda g: torch.zeros_like(g),
}

MISTAKES = {
    "zeroed row": (Reason.ONE_SLICE, "row of weight: 7"),
    "flipped row": (Reason.ONE_SLICE, "row of weight: 7"),
    "zeroed column": (Reason.ONE_SLICE, "column of weight: 5"),
    "rolled rows": (Reason.SHIFTED, "axis 0 of weight"),
    "one zeroed entry": (Reason.ONE_ENTRY, "[7, 30]"),
    "a millionth too large": (Reason.CONSTANT_FACTOR, " 1.000001"),
    "wrong sign": (Reason.WRONG_SIGN, ""),
    "nothing": (Reason.NO_GRADIENT, ""),
}


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor, weight: Tensor, fault: object) -> Tensor:
        ctx.save_for_backward(x, weight)  # type: ignore[attr-defined]
        ctx.fault = fault  # type: ignore[attr-defined]
        return x @ weight.mT

    @staticmethod
    def backward(ctx: object, v: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        gradient = v.mT @ x
        return v @ weight, ctx.fault(gradient) if ctx.fault else gradient, None  # type: ignore[attr-defined]


class Wrong(nn.Module):
    def __init__(self, fault: object, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(96, 64, generator=generator) / 8)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(_Linear.apply(x, self.weight, self.fault))


def _problem(fault: object, seed: int) -> tuple[nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return Wrong(fault, generator), torch.randn(4, 64, generator=generator)


@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_fault_fails_at_every_seed_and_is_named(fault: str) -> None:
    for seed in range(8):
        certificate = nets.verify(*_problem(FAULTS[fault], seed), seed=seed)
        assert certificate.verdict == "fail" and certificate.sentence().startswith("fail: ∂Y[")
        reason, fact = MISTAKES[fault]
        assert certificate.checks[0].reason is reason and fact in certificate.checks[0].message


def test_the_wrong_entry_is_found_by_bisection() -> None:
    certificate = nets.verify(*_problem(FAULTS["one zeroed entry"], 3))
    (failed,) = [check for check in certificate.checks if check.verdict == "fail"]
    assert failed.worst_index is not None and failed.worst_index[-2:] == (7, 30)
    assert failed.actual == 0


class OneOutput(torch.autograd.Function):
    """tanh(Z), whose backward flips the gradient of output [2, 17]."""

    @staticmethod
    def forward(ctx: object, z: Tensor) -> Tensor:
        y = torch.tanh(z)
        ctx.save_for_backward(y)  # type: ignore[attr-defined]
        return y

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors  # type: ignore[attr-defined]
        slope = 1 - y * y
        slope[2, 17] *= -1
        return v * slope


def test_the_wrong_output_is_found_by_bisection() -> None:
    class Module(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return OneOutput.apply(super().forward(x))

    certificate = nets.verify(Module(64, 96), torch.randn(4, 64, generator=torch.Generator().manual_seed(0)))
    failed = [check for check in certificate.checks if check.verdict == "fail"]
    assert {check.parameter for check in failed} == {"weight", "bias", "input"}
    # The entry is searched for in the gradient nearest to the output; the others are reported as wrong.
    (check,) = [check for check in failed if check.worst_index is not None]
    assert (check.parameter, check.output_index) == ("bias", (2, 17))
    assert check.actual == pytest.approx(-check.expected, rel=1e-6)


@pytest.mark.parametrize("function", [torch.relu, torch.abs, nn.functional.hardtanh], ids=lambda f: f.__name__)
def test_a_kink_is_inconclusive(function: object) -> None:
    """At one of 6,000 numbers the slopes to both sides differ, by 1 or by 2; |X| has the derivative that its backward
    gives, 0, by central differences too."""
    x = torch.linspace(0.2, 0.9, 6_000, dtype=torch.float64)
    x[4321] = 1.0 if function is nn.functional.hardtanh else 0.0
    certificate = nets.verify(_Applied(function), x)
    assert certificate.verdict == "inconclusive" and certificate.decisive.reason is Reason.KINK, str(certificate)


class _Applied(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[operator]


def test_kinks_beside_the_point_do_not_change_the_verdict() -> None:
    """A rectified network has thousands of kinks near every point, and none at it."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        network = nets.mlp([100, 200, 50], activation="tanh", generator=generator)
        module = nn.Sequential(nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 50)).double()
        module.load_state_dict(network.state_dict())
        assert nets.verify(module, torch.randn(32, 100, generator=generator), seed=seed).passed


def test_a_probe_that_fails_by_accident_is_not_a_fault() -> None:
    """A fault shows along every direction. Here only the difference of one probe is wrong."""
    module, x = _problem(None, 0)
    problem = Problem(module, (x,))
    prober = Prober(problem, output_floor(problem, seed=0))
    probe = prober.measured("weight", slice(0, 6_144))
    assert probe.excess <= 1
    assert located(prober, "weight", replace(probe, expected=2 * probe.expected), "reverse mode") is None


@pytest.mark.parametrize("factor", [0, 2])
def test_batched_probes_that_disagree_are_repeated_unbatched(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under vmap a module may compute something else; here its output moves by 0 or by 2 times as much as in a call."""
    asked = list[int]()

    def otherwise(self: Prober, name: str, moves: list[Move]) -> list[tuple[Tensor, Tensor]]:
        asked.append(len(moves))
        y = self.problem.y
        return [tuple(y + factor * (side - y) for side in self._sides(name, *move)) for move in moves]

    monkeypatch.setattr(Prober, "_at_once", otherwise)
    certificate = nets.verify(*_problem(None, 0), coverage="auto")
    assert certificate.passed and asked
    assert all(abs(check.actual - check.expected) <= check.tolerance for check in certificate.checks)


def test_a_module_that_cannot_be_batched_is_probed_unbatched() -> None:
    """vmap does not work if Python reads a number."""

    class Read(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x * 2) if float(x.detach().sum()) > -1e9 else x

    module, x = _problem(None, 0)
    assert nets.verify(nn.Sequential(module, Read(), nn.Linear(module.weight.shape[0], 3)).double(), x).passed
    wrong, _ = _problem(FAULTS["flipped row"], 0)
    assert not nets.verify(nn.Sequential(wrong, Read()), x).passed


def test_a_right_module_passes_at_every_seed_and_states_its_power() -> None:
    for seed in range(8):
        certificate = nets.verify(*_problem(None, seed), seed=seed)
        assert certificate.passed
    assert sum(point.numel() for point in _problem(None, 0)[0].parameters()) > MOST_ENTRYWISE_NUMBERS
    assert "numbers, so probed at random; least sure of" in certificate.notes[0]
    reason = certificate.checks[0].message
    assert "one zeroed entry is seen with probability 0.99" in reason or "probability 1.0000" in reason
    assert all(check.detects is not None and check.detects < 1e-6 for check in certificate.checks)


def test_full_coverage_checks_every_entry_of_the_same_module() -> None:
    module, x = _problem(None, 0)
    module.weight = nn.Parameter(module.weight[:9])
    certificate = nets.verify(module, x[:1], coverage="full")
    assert certificate.passed and certificate.checks[0].entries == 9 * 9 * 64


def test_the_closed_form_of_a_large_network_is_probed() -> None:
    network = nets.mlp([128, 64, 10], generator=torch.Generator().manual_seed(0))
    certificate = nets.verify(network, torch.randn(4, 128, generator=torch.Generator().manual_seed(1)))
    assert certificate.passed and {check.oracle for check in certificate.checks} == {"closed form"}


def test_a_wrong_closed_form_of_a_large_network_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from nets.calculus.layers import Tanh

    monkeypatch.setattr(Tanh, "slope", lambda self, z, y: (1 - y * y) * torch.where(z < 0, 1.001, 1.0))
    network = nets.mlp([128, 64, 10], generator=torch.Generator().manual_seed(0))
    assert nets.verify(network, torch.randn(4, 128, generator=torch.Generator().manual_seed(1))).verdict == "fail"


def test_a_gradient_below_the_noise_is_inconclusive() -> None:
    """tanh at 17: a slope of 7e-15, and the output is one."""
    module = nn.Sequential(nn.Linear(100, 60), nn.Tanh()).double()
    nn.init.zeros_(module[0].weight)
    nn.init.constant_(module[0].bias, 17.0)
    certificate = nets.verify(module, torch.randn(2, 100, generator=torch.Generator().manual_seed(0)))
    assert certificate.verdict == "inconclusive"


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_a_stated_closed_form_is_compared_with_the_gradient(factor: float) -> None:
    module, x = (
        nn.Linear(80, 80).double(),
        torch.randn(2, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    stated = factor * torch.einsum("ki,nj->nkij", torch.eye(80, dtype=torch.float64), x)
    certificate = nets.verify(module, x, closed_form=lambda module, x: {"weight": stated})
    assert certificate.passed is (factor == 1), str(certificate)


def test_the_stated_probability_is_right() -> None:
    """Columns of sizes from 1 to 1e-12: of most entries only the large ones can be seen, and as often as stated."""
    generator = torch.Generator().manual_seed(0)
    stated, seen = [], 0
    for seed in range(20):
        x = torch.randn(4, 64, generator=generator, dtype=torch.float64) * torch.logspace(
            0, -12, 64, dtype=torch.float64
        )
        module = Wrong(None, generator).double()
        found = re.search(
            r"one zeroed entry is seen with probability ([\d.]+)", nets.verify(module, x, seed=seed).checks[0].message
        )
        assert found is not None
        for _ in range(8):
            row, column = (torch.randint(size, (1,), generator=generator) for size in (96, 64))
            module.fault = lambda g, at=(row, column): g.index_put(at, torch.zeros(1, dtype=g.dtype))
            stated.append(float(found[1]))
            seen += nets.verify(module, x, seed=seed).verdict == "fail"
    assert 0.3 < sum(stated) / len(stated) < 0.8
    # Three standard deviations of the share that is seen in 160 trials.
    assert abs(seen / len(stated) - sum(stated) / len(stated)) < 3 * (0.25 / len(stated)) ** 0.5
