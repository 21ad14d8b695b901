"""What a certificate costs beside `torch.autograd.gradcheck`, and what each of the two sees: in one process, on the same networks.

    python -m benchmarks.verification [--runs 5]

Each run of one is followed by a run of the other; a row is the median of the ratios, with the smallest and the largest.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.autograd.gradcheck import GradcheckError
from torch.func import functional_call

import nets

RESULTS = Path(__file__).parent / "results.json"
SEEDS = 100


class WrongRows(torch.autograd.Function):
    """X Wᵀ, with a backward whose weight gradient has been tampered with."""

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
    """A Linear layer with that backward."""

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
    """`gradcheck` by every parameter and the input.

    Where its fast mode finds something, it goes through the slow one for the words of its message: hours, for 400,000 parameters.
    It is spared that here.
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


def ratio(row: str, setting: str, ours: Callable[[], object], theirs: Callable[[], object], target: float, runs: int) -> dict:
    """ours / theirs, interleaved."""
    ours(), theirs()
    ratios = []
    for _ in range(runs):
        marks = [time.perf_counter()]
        for function in (ours, theirs):
            function()
            marks.append(time.perf_counter())
        ratios.append((marks[1] - marks[0]) / (marks[2] - marks[1]))
    middle = statistics.median(ratios)
    return {
        "row": row, "setting": setting, "ratio": middle, "low": min(ratios), "high": max(ratios), "target": f"≤ {target}",
        "met": middle <= target,
    }  # fmt: skip


def seen(row: str, fault: Callable[[Tensor], Tensor], look: Callable[[nn.Module, Tensor, int], bool], target: str) -> dict:
    """In how many of 100 seeds a fault is seen."""
    count = 0
    for seed in range(SEEDS):
        module = network(784, 512, 10, seed=seed, first=WrongLinear)
        module[0].fault = fault
        count += look(module, torch.rand(8, 784, dtype=torch.float64), seed)
    share = count / SEEDS
    met = target == "stated" or share == 1
    return {
        "row": row,
        "setting": "784-512-10, N = 8, 100 seeds",
        "ratio": share,
        "low": share,
        "high": share,
        "target": target,
        "met": met,
    }


def rows(runs: int) -> list[dict]:
    small, x = network(64, 256, 10), torch.rand(8, 64, dtype=torch.float64)
    large, z = network(784, 512, 10), torch.rand(8, 784, dtype=torch.float64)
    found = [
        ratio(
            "verify, every entry ÷ gradcheck, slow mode", "64-256-10, N = 8",
            lambda: nets.verify(small, x, coverage="full"), lambda: check_gradients(small, x, fast=False), 0.2, max(1, runs // 2),
        ),
        ratio(
            "verify, by probes ÷ gradcheck, fast mode", "784-512-10, N = 8",
            lambda: nets.verify(large, z), lambda: check_gradients(large, z, fast=True), 3.0, runs,
        ),
    ]  # fmt: skip
    for name, fault in FAULTS.items():
        found.append(
            seen(f"share of seeds at which verify sees {name}", fault, lambda m, x, s: not nets.verify(m, x, seed=s).passed, "= 1")
        )
        found.append(
            seen(
                f"share at which gradcheck's fast mode sees {name}",
                fault,
                lambda m, x, s: not check_gradients(m, x, True),
                "stated",
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    results = rows(runs)
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else []
    names = {result["row"] for result in results}
    everything = [row for row in kept if row["row"] not in names] + results
    RESULTS.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in results:
        verdict = "met" if row["met"] else "MISSED"
        spread = f"{row['ratio']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
        print(f"{row['row']} ({row['setting']}): {spread}, target {row['target']}: {verdict}")


if __name__ == "__main__":
    main()
