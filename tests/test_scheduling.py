"""A recording computes the slope of an activation in the forward pass, where fewer results then wait."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import nets
from nets.torch_internals import memory
from nets.training.gradients.backpropagation import backpropagate
from nets.training.replay.memory_plan import MemoryPlan
from nets.training.replay.operation import Operation, tensors
from nets.training.replay.recording import Watch, watched
from nets.training.replay.simplification import simplified

aten = torch.ops.aten
X = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(3, 4)


def watch_of(activation: str) -> tuple[Watch, nets.Network, nets.Batch]:
    network = nets.mlp([3, 8, 8, 8, 2], activation, generator=torch.Generator().manual_seed(0))
    batch = nets.Batch(torch.rand(64, 3), torch.rand(64, 2))
    watch, _ = watched(lambda: backpropagate(network, nets.MeanSquaredError(), batch))
    return watch, network, batch


def largest_waiting(operations: list[Operation], returned: set[int]) -> int:
    """The most bytes that results take at a time, from the operation that makes them to the last that reads them."""
    last = {memory(t): number for number, one in enumerate(operations) for t in tensors((one.args, one.kwargs))}
    waiting: dict[int, int] = {}
    most = 0
    for number, operation in enumerate(operations):
        if not operation.views:
            waiting |= {memory(t): t.untyped_storage().nbytes() for t in tensors(operation.result)}
        most = max(most, sum(waiting.values()))
        waiting = {key: size for key, size in waiting.items() if last.get(key, -1) > number or key in returned}
    return most


@pytest.mark.parametrize(
    ("activation", "saves"), [("gelu_tanh", True), ("relu", True), ("silu", True), ("tanh", False)]
)
def test_less_memory_waits(activation: str, saves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, *_ = watch_of(activation)
    after = simplified(watch.operations, watch.result)
    monkeypatch.setattr("nets.training.replay.simplification.scheduled", lambda operations, returned: operations)
    before = simplified(watch.operations, watch.result)
    sizes = [
        largest_waiting(one.operations, {memory(tensor) for tensor in tensors(one.result)}) for one in (before, after)
    ]
    assert (sizes[1] < sizes[0]) is saves and sizes[1] <= sizes[0]


@pytest.mark.parametrize("activation", ["gelu_tanh", "silu", "relu", "mish"])
def test_each_operation_follows_those_that_it_reads_and_the_numbers_stay(activation: str) -> None:
    watch, network, batch = watch_of(activation)
    recorded = simplified(watch.operations, watch.result)
    made = {id(tensor) for operation in recorded.operations for tensor in tensors(operation.result)}
    known: set[int] = set()
    for operation in recorded.operations:
        assert {id(tensor) for tensor in tensors((operation.args, operation.kwargs))} & made <= known
        known |= {id(tensor) for tensor in tensors(operation.result)}
    found = MemoryPlan(recorded).result
    torch.testing.assert_close(found, backpropagate(network, nets.MeanSquaredError(), batch))


def two_waiting(x: Tensor) -> Tensor:
    """Two products wait for the third, and their own product alone is read after it."""
    one, other = x @ x.mT, x @ (x + 1).mT
    total = (x @ (x + 2).mT).sum()
    return total + (one * other).sum()


def one_is_written_to(x: Tensor) -> Tensor:
    one, other = x @ x.mT, x @ (x + 1).mT
    total = (x @ (x + 2).mT).sum()
    one += 1
    return total + (one * other).sum()


def one_is_returned(x: Tensor) -> tuple[Tensor, Tensor]:
    """It takes its memory anyway."""
    one, other = x @ x.mT, x @ (x + 1).mT
    total = (x @ (x + 2).mT).sum()
    return total + (one * other).sum(), one


@pytest.mark.parametrize(
    ("function", "moves"), [(two_waiting, True), (one_is_written_to, False), (one_is_returned, False)]
)
def test_two_results_that_wait_become_one(function: Callable[[Tensor], Tensor], moves: bool) -> None:
    watch, _ = watched(lambda: function(X))
    recorded = simplified(watch.operations, watch.result)
    names = [operation.function for operation in recorded.operations]
    third_product = len(names) - 1 - names[::-1].index(aten.mm.default)
    assert (names.index(aten.mul.Tensor) < third_product) is moves
    torch.testing.assert_close(MemoryPlan(recorded).result, function(X))
