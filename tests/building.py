"""Builds the modules of the tables: formulas as modules, and points drawn from a generator."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Made = tuple[nn.Module, tuple[Any, ...]]
Make = Callable[[torch.Generator], Made]
Draw = Callable[[torch.Generator], Tensor]


class Written(nn.Module):
    """formula(module, *inputs), with its parameters as attributes of the module, differentiated by autograd."""

    def __init__(self, formula: Callable[..., Any], **parameters: Tensor) -> None:
        super().__init__()
        self.formula = formula
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, *inputs: Tensor) -> Any:
        return self.formula(self, *inputs)


def built(build: Callable[[], nn.Module], *points: Draw) -> Make:
    """build() with its own initial values, drawn from the generator like all else, in float64."""

    def make(generator: torch.Generator) -> Made:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            module = build().double()
        return module, tuple(point(generator) for point in points)

    return make


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def apart(generator: torch.Generator, *shape: int) -> Tensor:
    """Numbers of either sign, at least 0.1 away from zero and 0.15 from one another, up to a tenth of their count."""
    count = torch.Size(shape).numel()
    ranks = torch.randperm(count, generator=generator).double() - (count // 2) + 0.5
    return (0.2 * ranks + 0.05 * torch.rand(count, generator=generator, dtype=torch.float64)).reshape(shape)


def shaped(*shape: int, scale: float = 1.0) -> Draw:
    return lambda generator: scale * normal(generator, *shape)


def spread(*shape: int) -> Draw:
    return lambda generator: apart(generator, *shape)


def between(low: float, high: float, *shape: int) -> Draw:
    return lambda generator: low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def below(count: int, *shape: int) -> Draw:
    """Indices 0 ≤ i < count."""
    return lambda generator: torch.randint(count, shape, generator=generator)


def fixed(*values: Any) -> Draw:
    return lambda generator: torch.tensor(values)
