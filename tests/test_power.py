"""The power that a certificate states is real: faults of twice that size are put in, and each of them is seen."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import nets
from nets.records.reason import Reason
from nets.verification.derivations.reverse_mode import reverse_mode
from nets.verification.problem.problem import Problem
from tests.in_matrix import first_in_test


class _Faulty(torch.autograd.Function):
    """P → P, whose backward is off by a factor, one for each entry."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return p.clone()

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None]:
        return v * ctx.saved_tensors[0], None


class Faulty(nn.Module):
    """A module, with the gradient of one parameter off by a factor."""

    def __init__(self, inner: nn.Module, name: str, factor: Tensor) -> None:
        super().__init__()
        self.inner, self.name, self.factor = inner, name, factor

    def forward(self, x: Tensor) -> Any:
        given = dict(self.inner.named_parameters())
        given[self.name] = _Faulty.apply(given[self.name], self.factor.to(given[self.name].dtype))
        return functional_call(self.inner, given, (x,))


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "tanh": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (3, 4), 1.0),
    "relu": (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), (3, 4), 1.0),
    "normalized": (lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.GELU(), nn.LogSoftmax(-1)), (3, 4), 1.0),
    "convolved": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(8, 2)),
        (2, 1, 4, 4),
        1.0,
    ),
    "batch": (lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ELU()), (6, 4), 1.0),
    "saturated": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3)), (3, 4), 8.0),
}


def _made(case: str, seed: int) -> tuple[nn.Module, Tensor]:
    make, shape, size = MODULES[case]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make(), size * torch.randn(shape)


def _power(module: nn.Module, x: Tensor, against: str, **options: Any) -> dict[str, tuple[float | None, float | None]]:
    checks = nets.verify(module, x, **options).checks
    return {check.parameter: (check.detects, check.detects_entry) for check in checks if check.against == against}


def _seen(module: nn.Module, x: Tensor, name: str, factor: Tensor, scale: float = 0.0, entry: float = 0.0) -> bool:
    """Whether a fault of that size is seen. Where its entries had to be measured again, with less success, the
    certificate says so: then it has promised nothing, though it is another than the one that the size was taken
    from."""
    own = [c for c in nets.verify(Faulty(module, name, factor), x).checks if c.parameter == f"inner.{name}"]
    (found,) = [check for check in own if check.against == "central difference"]
    assert found.detects is not None and found.detects_entry is not None
    return any(c.verdict == "fail" for c in own) or 2 * found.detects > scale > 0 or 2 * found.detects_entry > entry > 0


@pytest.mark.parametrize("case", list(MODULES))
@pytest.mark.parametrize("seed", first_in_test(range(5)))
def test_faults_of_twice_the_stated_sizes_are_always_seen(case: str, seed: int) -> None:
    """A scale that is off, and one entry of ∂Y/∂p that is off by a part of the largest one, wherever it is."""
    module, x = _made(case, seed)
    truth = reverse_mode(Problem(module, (x,)))
    for name, (scale, entry) in _power(module, x, "central difference").items():
        if name == "input" or scale is None or entry is None:
            continue
        assert scale <= entry * (1 + 1e-9)
        point = module.get_parameter(name)
        assert _seen(module, x, name, torch.full(point.shape, 1 + 2 * scale, dtype=torch.float64), scale=2 * scale), (
            name
        )
        columns = truth[name].abs().max(0).values / truth[name].abs().max()
        for column in torch.randperm(point.numel(), generator=torch.Generator().manual_seed(seed))[:2].tolist():
            if columns[column] > 1e-9:
                factor = torch.ones(point.numel(), dtype=torch.float64)
                factor[column] += 2 * entry / columns[column]
                assert _seen(module, x, name, factor.reshape(point.shape), entry=2 * entry), (name, column)


def test_faults_of_twice_the_sizes_stated_by_probes_are_always_seen() -> None:
    """One entry of the gradient of vᵀY, off by twice the stated part of the largest one; and a scale."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, x = nn.Sequential(nn.Linear(100, 60), nn.Tanh(), nn.Linear(60, 4)), torch.randn(3, 100)
    gradient = Problem(module, (x,)).gradient["0.weight"]
    scale, entry = _power(module, x, "central difference")["0.weight"]
    assert scale is not None and entry is not None

    def fails(factor: Tensor) -> bool:
        return not nets.verify(Faulty(module, "0.weight", factor), x).passed

    assert fails(torch.full((60, 100), 1 + 2 * scale, dtype=torch.float64))
    for seed in range(8):
        row, column = int(torch.randint(60, (), generator=torch.Generator().manual_seed(seed))), 7 * seed
        factor = torch.ones(60, 100, dtype=torch.float64)
        factor[row, column] += 2 * entry * float(gradient.abs().max() / gradient[row, column].abs())
        assert fails(factor), (row, column)


def test_the_sentence_states_the_power_of_every_kind() -> None:
    """Of the derivative, in float64, and of the module as it stands, where a few per cent are all that can be seen."""
    module, x = _made("tanh", 0)
    plain = nets.verify(module, x)
    power = (
        r"a scale that is off by \de-\d\d, and one entry that is off by \de-\d\d of the largest, would have been seen"
    )
    assert re.search(power + r"\.$", plain.sentence())
    checks = [check for check in plain.checks if check.against == "central difference"]
    assert plain.detects == max(check.detects for check in checks if check.detects is not None)
    assert plain.detects_entry == max(check.detects_entry for check in checks if check.detects_entry is not None)
    low = nets.verify(module.bfloat16(), x.bfloat16(), dtype="as is").sentence()
    coarse = (
        r"a scale that is off by \de-0[12], and one entry that is off by \de[-+]0[012] of the largest, in bfloat16\.$"
    )
    assert re.search(power + " in float64, and " + coarse, low)


def test_a_gradient_that_is_truly_zero_states_no_power() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    checks = nets.verify(module, _made("batch", 0)[1][:, :3]).checks
    (bias,) = [c for c in checks if c.reason is Reason.ZERO_EVERYWHERE and c.against == "central difference"]
    assert (bias.parameter, bias.detects, bias.detects_entry) == ("0.bias", None, None)
