"""∂Y/∂W and ∂Y/∂B of Y = tanh(W X + B): PyTorch's `jacrev` against the closed form, as factors and as dense tensors."""

import itertools
from collections.abc import Iterator
from statistics import median

import torch
from torch import Tensor
from torch.func import functional_call, jacrev

import nets
from benchmarks.measuring import Loop, Row, interleaved, ratios, row

SAMPLES, SIZE = 16, 128


def rows(runs: int) -> Iterator[Row]:
    network, x = nets.mlp([SIZE, SIZE]), torch.randn(SAMPLES, SIZE)
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def output(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(network, parameters, (x,))

    jacobians_of = jacrev(output)

    def dense(steps: int) -> None:
        for _ in range(steps):
            jacobians = nets.jacobians(network, x)
            jacobians["0.weight"].dense(), jacobians["0.bias"].dense()

    loops: dict[str, Loop] = {
        "jacrev": lambda steps: [jacobians_of(parameters) for _ in range(steps)],
        "factors": lambda steps: [nets.jacobians(network, x) for _ in itertools.repeat(None, steps * 100)],
        "dense": dense,
        "zeros": lambda steps: [torch.zeros(SAMPLES, SIZE, SIZE, SIZE) for _ in range(steps)],
    }
    torch.set_num_threads(2)
    seconds = interleaved(loops, steps=1, runs=2 * runs)
    seconds["factors"] = [second / 100 for second in seconds["factors"]]
    setting = f"{SAMPLES}×{SIZE}→{SIZE}, 2 threads"
    yield row(
        "∂Y/∂W and ∂Y/∂B: jacrev ÷ nets.jacobians, kept as factors",
        setting,
        ratios(seconds, "jacrev", "factors"),
        "≥ 100",
    )
    zeros = median(ratios(seconds, "zeros", "dense"))
    yield row(
        "∂Y/∂W and ∂Y/∂B: jacrev ÷ nets.jacobians, .dense()", setting, ratios(seconds, "jacrev", "dense"), "≥ 2",
        f"allocating as many zeros takes {zeros:.2f} of the time of .dense()",
    )  # fmt: skip
