"""What a recording leaves out: equal operations, constants, and results that nothing reads. The numbers stay."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from nets.training.gradients.backpropagation import backpropagate
from nets.training.replay.operation import tensors
from nets.training.replay.recording import Recording, alike, watched
from nets.training.replay.simplification import simplified

aten = torch.ops.aten
X = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(3, 4)
W = torch.linspace(1, -1, 20, dtype=torch.float64).reshape(4, 5)


def computed_twice(x: Tensor) -> Any:
    return torch.tanh(x @ W) * 2, torch.tanh(x @ W) * 3


def constant(x: Tensor) -> Any:
    return x + torch.ones(4, dtype=x.dtype).cumsum(0) * torch.zeros_like(x).exp()


def unread(x: Tensor) -> Any:
    torch.sin(x)
    return torch.cos(x)


def written_twice(x: Tensor) -> Any:
    """Two buffers that are alike when they are made, and not afterwards."""
    one, other = torch.zeros_like(x), torch.zeros_like(x)
    return one.add_(x) + 0, other.sub_(x) + 0


def returned_twice(x: Tensor) -> Any:
    return x.exp(), x.exp()


def of_its_own_transpose(x: Tensor) -> Any:
    square = (x @ W)[:, :3] * 1
    return square * square.mT + 1


def several_results(x: Tensor) -> Any:
    y, mean, rstd = torch.native_layer_norm(x, [4], None, None, 1e-5)
    return y * rstd + mean, torch.native_layer_norm(x, [4], None, None, 1e-5)[0] - 1


def heads(x: Tensor) -> Any:
    """Layouts that differ between the first call and a repetition."""
    parts = (x @ W[:, :4]).reshape(3, 2, 2).movedim(0, 1)
    return (parts @ parts.mT).movedim(0, 1).flatten(1) * 2


def of_numbers_of_two_kinds(x: Tensor) -> Any:
    return x * 1 + (x > 0) * 1.0, x * 1.0, (x > 0) * 1


def viewed_again(x: Tensor) -> Any:
    """The second product is left out, and a view of it alone is read after the last use of the first."""
    one, other = torch.tanh(x @ W), torch.tanh(x @ W)
    later = other[:, 1:]
    return (one * 2).sum(), torch.cat([later, later[:, :1]], 1) + 1


def the_same_tensor_twice(x: Tensor) -> Any:
    y = x.exp()
    return y, y, y[1:]


def a_constant_that_is_written_to(x: Tensor) -> Any:
    total = torch.zeros(4, dtype=x.dtype)
    total += x[0]
    total[1:] += 2 * torch.ones(3, dtype=x.dtype)
    return total * 2, torch.zeros(4, dtype=x.dtype) + 1


def of_a_shape_alone(x: Tensor) -> Any:
    """The tensor of that shape is not computed itself."""
    return torch.full_like(torch.sin(x), 2) * x


def in_the_layout_of_one_operand(x: Tensor) -> Any:
    """A view is read of a sum, whose operands have different layouts."""
    heads = x.reshape(3, 2, 2).movedim(0, 1) * 1
    other = torch.zeros(2, 3, 2, dtype=x.dtype).cos() * x.sum()
    return (heads + other).movedim(1, 0).reshape(3, 4) * 2


CASES: dict[Callable[[Tensor], Any], int | None] = {
    computed_twice: 4, constant: 1, unread: 1, written_twice: None, returned_twice: 2, of_its_own_transpose: None,
    several_results: None, heads: None, of_numbers_of_two_kinds: None,
    viewed_again: None, the_same_tensor_twice: 2, a_constant_that_is_written_to: None, of_a_shape_alone: 1,
    in_the_layout_of_one_operand: None,
}  # fmt: skip
"""Function → how many operations are repeated besides views; None where the number does not matter."""


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
def test_a_recording_gives_the_numbers_of_the_function(function: Callable[[Tensor], Any]) -> None:
    x = X.clone()
    recording = Recording(watched(lambda: function(x))[0])
    for scale in (1.0, -0.5, 3.0):
        x.copy_(scale * X)
        recording.replay()
        expected = function(x)
        found = tensors(recording.result)
        assert [t.dtype for t in found] == [t.dtype for t in tensors(expected)]
        for one, other in zip(tensors(expected), found, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", [f for f, count in CASES.items() if count is not None], ids=lambda f: f.__name__)
def test_only_needed_operations_are_repeated(function: Callable[[Tensor], Any]) -> None:
    watch, _ = watched(lambda: function(X))
    kept = simplified(watch.operations, watch.result).operations
    left = [operation for operation in kept if not operation.views]
    assert len(left) == CASES[function], left


def test_two_results_never_share_memory() -> None:
    """Someone who writes to one gradient must not change another."""
    one, other = Recording(watched(lambda: returned_twice(X))[0]).result
    assert one.data_ptr() != other.data_ptr()


def test_a_gradient_that_is_zero_by_cancellation_has_no_scale_of_its_own() -> None:
    large, rounding = torch.ones(3), torch.tensor([3e-10, -2e-10])
    assert alike([large, rounding], [large, -rounding])
    assert not alike([large, rounding], [large, rounding + 1e-6])
    assert not alike([rounding], [rounding + 1e-10])


def test_a_network_of_networks_is_recorded_without_computing_a_value_twice() -> None:
    network = nets.Network([nets.Network([nets.mlp([3, 3])]), nets.Linear(3, 2)])
    batch = nets.Batch(torch.rand(5, 3), torch.rand(5, 2))

    watch, _ = watched(lambda: backpropagate(network, nets.MeanSquaredError(), batch))
    seen = [operation.function for operation in watch.operations]
    kept = [operation.function for operation in simplified(watch.operations, watch.result).operations]
    assert seen.count(aten.tanh.default) > 1
    assert kept.count(aten.tanh.default) == 1
    # Forward, the weights' gradients, and one pullback.
    assert kept.count(aten.addmm.default) == 2 and kept.count(aten.mm.default) == 3


def test_equal_values_stay_apart_where_one_is_written_to_or_both_are_returned() -> None:
    x = torch.rand(4)

    def written() -> Tensor:
        one, other = x * 2, x * 2
        one += 1
        return one * other

    def returned() -> tuple[Tensor, Tensor]:
        return x * 2, x * 2

    for function in (written, returned):
        recording = Recording(watched(function)[0])
        x.copy_(torch.rand(4))
        recording.replay()
        torch.testing.assert_close(recording.result, function())
    one, other = recording.result
    assert one.data_ptr() != other.data_ptr()


def test_no_tensor_that_the_function_makes_is_kept() -> None:
    made: list[weakref.ref[Tensor]] = []

    def function() -> Tensor:
        y = torch.tanh(X @ W)
        made.append(weakref.ref(y))
        return (y * y).sum()

    watch, _ = watched(function)
    assert watch.operations and made[0]() is None


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (lambda: X.to_sparse(), "strides"),
        (lambda: X.add_(0), "not made"),
        (lambda: X[1:].mul_(1), "not made"),
        (lambda: torch.rand(3), "random"),
        (lambda: X[X > 0], "shape"),
        (lambda: X.sum().item(), "number"),
    ],
)
def test_the_reason_why_operations_cannot_be_repeated_is_given(function: Callable[[], Any], word: str) -> None:
    watch, _ = watched(function)
    assert word in watch.obstacle
    with pytest.raises(RuntimeError, match=word):
        Recording(watch)
