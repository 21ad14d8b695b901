"""The probabilities that probes state are right: 800 faults in modules above the budget, of very different scales."""

import re
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.verification.verify import MOST_ENTRYWISE_NUMBERS

ROWS, COLUMNS, MODULES, FAULTS = 96, 64, 20, 40
"""Twenty modules; forty faults are put into each of them, one after the other."""


class _Linear(torch.autograd.Function):
    """X Wᵀ, whose gradient by W is spoilt by a factor for each entry."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, factor)
        return x @ weight.mT

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, factor = ctx.saved_tensors
        return v @ weight, (v.mT @ x) * factor, None


class Mixed(nn.Module):
    """tanh(X Wᵀ) ⊙ S, with sizes of the columns of X and of the outputs that go down to 10⁻¹²."""

    def __init__(self, outputs: float, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(ROWS, COLUMNS, generator=generator, dtype=torch.float64) / 8)
        self.size = torch.logspace(0, outputs, ROWS, dtype=torch.float64)
        self.factor = torch.ones(ROWS, COLUMNS, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(_Linear.apply(x, self.weight, self.factor)) * self.size


def _stated(certificate: nets.Certificate) -> tuple[float, float]:
    """The probabilities of seeing one zeroed entry and one zeroed or flipped row of the weight."""
    reason = next(check.message for check in certificate.checks if check.parameter == "weight")
    found = re.search(
        r"one zeroed entry is seen with probability ([\d.]+), one zeroed or flipped row with ([\d.]+)", reason
    )
    assert found is not None, str(certificate)
    return float(found[1]), float(found[2])


@pytest.mark.matrix
@pytest.mark.parametrize("fault", ["a zeroed entry", "a zeroed row", "a flipped row"])
def test_the_stated_probabilities_are_right_in_800_trials(fault: str) -> None:
    """The share that is seen lies within three standard deviations of the sum of as many Bernoulli trials as stated."""
    generator = torch.Generator().manual_seed(len(fault))
    stated, seen = [], 0
    columns, outputs = (-12.0, 0.0) if fault == "a zeroed entry" else (0.0, -16.0)
    for seed in range(MODULES):
        x = torch.randn(4, COLUMNS, generator=generator, dtype=torch.float64)
        x *= torch.logspace(0, columns, COLUMNS, dtype=torch.float64)
        module = Mixed(outputs, generator)
        assert module.weight.numel() + x.numel() > MOST_ENTRYWISE_NUMBERS
        probability = _stated(nets.verify(module, x, seed=seed))[int(fault != "a zeroed entry")]
        for _ in range(FAULTS):
            module.factor = torch.ones_like(module.factor)
            row, column = (int(torch.randint(size, (), generator=generator)) for size in (ROWS, COLUMNS))
            if fault == "a zeroed entry":
                module.factor[row, column] = 0
            else:
                module.factor[row] = 0 if fault == "a zeroed row" else -1
            stated.append(probability)
            certificate = nets.verify(module, x, seed=seed)
            seen += certificate.verdict == "fail"
    expected = sum(stated)
    assert 0.2 < expected / len(stated) < 0.95
    deviation = sqrt(sum(p * (1 - p) for p in stated))
    assert abs(seen - expected) < 3 * deviation, (seen, expected, deviation)
