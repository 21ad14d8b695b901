"""The checker is checked: every wrong backward pass of the table fails, every right module passes, at five seeds each."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import nets
from tests.right_modules import RIGHT, RightModule
from tests.wrong_backwards import WRONG, WrongBackward

SEEDS = range(5)
VISIBLE = 1e-4
"""How far a wrong gradient must be off, relative to its largest entry, to stand in the table."""


def made(record: WrongBackward | RightModule, seed: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return record.make(torch.Generator().manual_seed(seed))


# The table's faults are faults. Nothing of nets is used here: the truth is a central difference, extrapolated. A complex
# number is two real ones, and its gradient is ∂/∂Re + i ∂/∂Im, as autograd has it.


def real(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value


def called(module: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """Every real number of Y in a row. The random numbers are the same in each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        leaves = tree_leaves(module(*inputs))
    return torch.cat([real(y).flatten() for y in leaves])


def differentiable(module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """What Y can be differentiated by: the parameters, and those inputs that are no indices."""
    numbers = {f"input {i}": x for i, x in enumerate(inputs) if x.is_floating_point() or x.is_complex()}
    return {**dict(module.named_parameters()), **numbers}


@torch.no_grad()
def difference(module: nn.Module, inputs: Sequence[Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    """∂Y/∂point, shape (M, P), by central differences of steps h and h/2, extrapolated; and a bound on its error."""
    entries = real(point.detach()).view(-1)
    columns = []
    for step in (1e-3, 5e-4):
        for i, value in enumerate(entries.tolist()):
            ends = []
            for moved in (value + step, value - step):
                entries[i] = moved
                ends.append(called(module, inputs))
            entries[i] = value
            columns.append((ends[0] - ends[1]) / (2 * step))
    wide, narrow = torch.stack(columns, -1).chunk(2, -1)
    return (4 * narrow - wide) / 3, (narrow - wide).abs()


def pullback(y: Tensor, points: dict[str, Tensor], upstream: Tensor) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(y, list(points.values()), upstream, retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros(real(point).numel(), dtype=torch.float64) if gradient is None else real(gradient).flatten()
        for (name, point), gradient in zip(points.items(), gradients, strict=True)
    }


def backward_passes(record: WrongBackward, seed: int, upstream: Tensor) -> dict[str, Tensor]:
    """vᵀ ∂Y/∂point for each row v of `upstream`, in the situation that `record.shows` names."""
    module, inputs = made(record, seed)
    points = differentiable(module, inputs)
    if record.shows == "parameters only":
        points = dict(module.named_parameters())
    for point in points.values():
        point.requires_grad_()
    if record.shows == "later call":
        earlier = called(module, [x + 1 if x.is_floating_point() else x for x in inputs])
        pullback(earlier, dict(module.named_parameters()), torch.ones_like(earlier))
    if record.shows == "accumulation":
        rows = []
        for v in upstream:
            module.zero_grad()
            for _ in range(2):
                called(module, inputs).backward(v / 2)
            rows.append({name: parameter.grad.flatten() for name, parameter in module.named_parameters()})
    else:
        y = called(module, inputs)
        rows = [pullback(y, points, v) for v in upstream]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def forward_products(record: WrongBackward, seed: int) -> Tensor:
    """∂Y/∂input by forward mode, shape (M, P)."""
    module, (x,) = made(record, seed)
    directions = torch.eye(x.numel(), dtype=x.dtype).reshape(-1, *x.shape)
    return torch.stack([torch.func.jvp(module, (x,), (t,))[1].flatten() for t in directions], -1)


@pytest.mark.parametrize("record", WRONG, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_tables_faults_are_faults(record: WrongBackward, seed: int) -> None:
    """Autograd's gradient is off by 1e-4 of its largest entry at least, ten times what the difference may be off itself."""
    module, inputs = made(record, seed)
    size = called(module, inputs).numel()
    generator = torch.Generator().manual_seed(seed)
    # Unit vectors, and one that is neither small nor of one sign nor sparse.
    upstream = torch.cat([torch.eye(size), 10 * torch.randn(1, size, generator=generator)]).double()
    actual = backward_passes(record, seed, upstream)
    wrong = set()
    for name, point in differentiable(module, inputs).items():
        if name not in actual:
            continue
        truth, uncertainty = difference(module, inputs, point)
        if record.shows == "forward mode" and name.startswith("input"):
            assert (actual[name] - upstream @ truth).abs().max() < 1e-9
            actual[name], upstream = forward_products(record, seed), torch.eye(size, dtype=torch.float64)
        error = (actual[name] - upstream @ truth).abs()
        scale = torch.maximum(actual[name].abs(), (upstream @ truth).abs()).amax(1, keepdim=True)
        if ((error > VISIBLE * scale) & (error > 10 * upstream.abs() @ uncertainty)).any():
            wrong.add("input" if name.startswith("input") else name)
    assert wrong
    assert record.parameter is None or wrong == {record.parameter}
