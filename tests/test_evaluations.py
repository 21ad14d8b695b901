"""What a failing run costs beside the run of the same module when it is right, in calls of the module."""

import pytest
import torch
from torch import Tensor, nn

import nets
from tests.deep import spoiled


class Counting(nn.Module):
    """A module, and how often any copy of it was called."""

    def __init__(self, module: nn.Module, calls: list[int]) -> None:
        super().__init__()
        self.module, self.count = module, lambda: calls.__setitem__(0, calls[0] + 1)

    def forward(self, x: Tensor) -> Tensor:
        self.count()
        return self.module(x)


def calls(module: nn.Module, x: Tensor, verdict: str) -> int:
    count = [0]
    assert nets.verify(Counting(module, count), x).verdict == verdict
    return count[0]


class Layer(nn.Module):
    """A linear layer and a backward written by hand: the gradient is multiplied by `factor`."""

    def __init__(self, size: int, factor: float) -> None:
        super().__init__()
        self.linear, self.factor = nn.Linear(size, size), factor

    def forward(self, x: Tensor) -> Tensor:
        return spoiled(self.linear(x), lambda g: self.factor * g).tanh()


def layers(size: int, factor: float) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(Layer(size, 1.0) for _ in range(3)), Layer(size, factor), Layer(size, 1.0))


@pytest.mark.parametrize("size", [4, 8, 40], ids=["small", "every entry", "probed"])
def test_a_failing_run_calls_the_module_at_most_three_times_as_often(size: int) -> None:
    x = torch.randn(2, size)
    right, wrong = (calls(layers(size, factor), x, verdict) for factor, verdict in ((1.0, "pass"), (1.1, "fail")))
    assert wrong <= 3 * right, (wrong, right)
