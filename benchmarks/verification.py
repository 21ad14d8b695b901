"""The time of a certificate against `torch.autograd.gradcheck`, and the faults that each of them finds, on the same
networks."""

import sys
from collections.abc import Callable, Iterator
from statistics import median
from unittest import mock

import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.autograd.gradcheck import GradcheckError
from torch.func import functional_call

import nets
from benchmarks.measuring import Row, interleaved, ratios, row

SEEDS = 100


class WrongRows(torch.autograd.Function):
    """X Wᵀ, with a backward that applies a fault to the gradient of the weight."""

    @staticmethod
    def forward(ctx, x, weight, fault):
        ctx.save_for_backward(x, weight)
        ctx.fault = fault
        return x @ weight.mT

    @staticmethod
    def backward(ctx, v):
        x, weight = ctx.saved_tensors
        return v @ weight, ctx.fault(v.mT @ x), None


class WrongLinear(nn.Linear):
    """A Linear layer with the backward of WrongRows."""

    fault: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        return WrongRows.apply(x, self.weight, self.fault) + self.bias


FAULTS: dict[str, Callable[[Tensor], Tensor]] = {
    "a zeroed row": lambda g: g.index_fill(0, torch.tensor([7]), 0.0),
    "a flipped row": lambda g: g.index_copy(0, torch.tensor([7]), -g[7:8]),
    "rolled rows": lambda g: g.roll(1, 0),
}


def network(*sizes: int, seed: int = 0, first: type[nn.Linear] = nn.Linear) -> nn.Sequential:
    """Linear, Tanh, Linear, in float64."""
    torch.manual_seed(seed)
    return nn.Sequential(first(sizes[0], sizes[1]), nn.Tanh(), nn.Linear(sizes[1], sizes[2])).double()


def check_gradients(module: nn.Module, x: Tensor, fast: bool) -> bool:
    """Whether `gradcheck` passes with respect to every parameter and the input.

    After a failure in fast mode, gradcheck repeats the check in slow mode to write its message, which would take hours
    for 400,000 parameters. The mock skips that.
    """
    names = [name for name, _ in module.named_parameters()]
    points = (x.clone().requires_grad_(), *(p.detach().clone().requires_grad_() for p in module.parameters()))

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    with mock.patch.object(sys.modules[gradcheck.__module__], "_run_slow_mode_and_get_error", return_value=""):
        try:
            return gradcheck(function, points, fast_mode=fast)
        except GradcheckError:
            return False


def detection(
    name: str, fault: Callable[[Tensor], Tensor], finds: Callable[[nn.Module, Tensor, int], bool], target: str
) -> Row:
    """The share of 100 seeds at which the check finds the fault."""
    count = 0
    for seed in range(SEEDS):
        module = network(784, 512, 10, seed=seed, first=WrongLinear)
        module[0].fault = fault
        count += finds(module, torch.rand(8, 784, dtype=torch.float64), seed)
    return row(name, f"784-512-10, N = 8, {SEEDS} seeds", [count / SEEDS], target)


def number_of_calls(module: nn.Module, x: Tensor) -> int:
    """The number of calls of the module in a verification; a call under vmap counts once."""
    found = list[None]()
    # The copies that verify makes have the hook, too.
    handle = module.register_forward_hook(lambda *_: found.append(None))
    nets.verify(module, x)
    handle.remove()
    return len(found)


def call(module: nn.Module, x: Tensor, count: int) -> None:
    """Call the module `count` times, without recording a graph."""
    with torch.no_grad():
        for _ in range(count):
            module(x)


def rows(runs: int) -> Iterator[Row]:
    torch.set_num_threads(2)
    small, x = network(64, 256, 10), torch.rand(8, 64, dtype=torch.float64)
    large, z = network(784, 512, 10), torch.rand(8, 784, dtype=torch.float64)
    # One step per run, since each takes seconds.
    seconds = interleaved(
        {
            "ours": lambda _: nets.verify(small, x, coverage="full"),
            "theirs": lambda _: check_gradients(small, x, fast=False),
        },
        steps=1,
        runs=max(3, runs // 2),
    )
    spread = [second / median(seconds["theirs"]) for second in seconds["theirs"]]
    yield row(
        "verify, every entry ÷ gradcheck, slow mode",
        "64-256-10, N = 8, 2 threads",
        ratios(seconds, "ours", "theirs"),
        "≤ 0.2",
        f"in the same run, gradcheck takes {min(spread):.2f} to {max(spread):.2f} times its median",
    )
    count = number_of_calls(large, z)
    seconds = interleaved(
        {
            "ours": lambda _: nets.verify(large, z),
            "theirs": lambda _: check_gradients(large, z, fast=True),
            "calls": lambda _: call(large, z, count),
        },
        steps=1,
        runs=2 * runs,
    )
    share = median(ratios(seconds, "calls", "theirs"))
    yield row(
        "verify, by probes ÷ gradcheck, fast mode",
        "784-512-10, N = 8, 2 threads",
        ratios(seconds, "ours", "theirs"),
        "≤ 3.0",
        f"its {count} calls of the network alone take {share:.2f} of the time of gradcheck",
    )
    for name, fault in FAULTS.items():
        yield detection(
            f"share of seeds at which verify sees {name}",
            fault,
            lambda m, x, s: not nets.verify(m, x, seed=s).passed,
            "≥ 1",
        )
        yield detection(
            f"share at which gradcheck's fast mode sees {name}",
            fault,
            lambda m, x, s: not check_gradients(m, x, True),
            "stated",
        )
