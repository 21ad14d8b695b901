"""∂Y/∂W and ∂Y/∂B of Y = tanh(W X + B): PyTorch's `jacrev`, and the closed form, as factors and in full."""

import itertools
from collections.abc import Iterator

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

    by_autograd = jacrev(output)
    loops: dict[str, Loop] = {
        "jacrev": lambda steps: [by_autograd(parameters) for _ in range(steps)],
        "factors": lambda steps: [nets.jacobians(network, x) for _ in itertools.repeat(None, steps * 100)],
        "dense": lambda steps: [
            [nets.jacobians(network, x)[name].dense() for name in ("0.weight", "0.bias")] for _ in range(steps)
        ],
    }
    torch.set_num_threads(2)
    seconds = interleaved(loops, steps=1, runs=2 * runs)
    seconds["factors"] = [second / 100 for second in seconds["factors"]]
    setting = f"{SAMPLES}×{SIZE}→{SIZE}, 2 threads"
    yield row("∂Y/∂W and ∂Y/∂B: jacrev ÷ nets.jacobians, kept as factors", setting, ratios(seconds, "jacrev", "factors"), "≥ 100")
    yield row("∂Y/∂W and ∂Y/∂B: jacrev ÷ nets.jacobians, .dense()", setting, ratios(seconds, "jacrev", "dense"), "≥ 2")
