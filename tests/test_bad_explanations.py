"""`picture`, `explain` and `jacobians` refuse each kind of wrong value in one sentence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nets
from nets.errors import InputError
from tests.naming import named

X = torch.tensor([[0.3, -0.8]])
NETWORK = nets.mlp([2, 3, 1])

TENSORS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a str": lambda: "{0}%s",
    "an array": X.numpy,
    "a list": lambda: [X],
    "a module": lambda: nn.Tanh(),
    "complex numbers": lambda: X.to(torch.complex64),
    "sparse": X.to_sparse,
    "without numbers": lambda: X.to("meta"),
    "quantised": lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.quint8),
}


def expect_one_sentence(call: Callable[[], object]) -> None:
    with pytest.raises(InputError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text and text.endswith((".", "?")) and len(text) < 700
    text.encode("utf-8")


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # quantized tensors are beta in PyTorch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_value_that_is_not_a_dense_real_tensor_is_refused(name: str) -> None:
    given = TENSORS[name]()
    calls: list[Callable[[], object]] = [
        lambda: nets.picture(lambda x: (x * x).sum(), given),
        lambda: nets.picture(NETWORK, given),
        lambda: nets.explain(NETWORK, given, "0.weight[0,0]"),
    ]
    for call in calls:
        expect_one_sentence(call)


HUGE = [2**64, 10**400, 10**5_000]
WRONG = [True, 1.5, "\ud800", [], {}, (1, 2, 3, 4), torch.ones(2), np.ones(2), nn.Tanh(), *HUGE]


@pytest.mark.parametrize("value", WRONG, ids=named)
def test_an_option_of_a_wrong_type_is_refused(value: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: nets.picture(lambda x: x * 2, X, output=value),
        lambda: nets.picture(lambda x: x.sum(), X, names=value),
        lambda: nets.picture(NETWORK, X, output=value),
        lambda: nets.picture(NETWORK, X, sample=value),
        lambda: nets.explain(NETWORK, X, value),
        lambda: nets.explain(NETWORK, X, "0.weight", value),
        lambda: nets.explain(NETWORK, X, "0.weight[0,0]", output=value),
        lambda: nets.explain(NETWORK, X, "0.weight[0,0]", sample=value),
        lambda: nets.explain(value, X, "0.weight[0,0]"),
        lambda: nets.jacobians(value, X),
        lambda: nets.picture(lambda x: x.sum(), 1.0).save(value),
    ]
    for call in calls:
        expect_one_sentence(call)


@pytest.mark.parametrize("number", [1j, 10**400, 10**5_000, True], ids=named)
def test_an_index_that_is_not_a_number_is_refused(number: Any) -> None:
    expect_one_sentence(lambda: nets.picture(lambda x: x * 2, number))


def raising(error: BaseException) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        raise error

    return function


FUNCTIONS: dict[str, Any] = {
    "of no input": lambda: 1,
    "of two inputs": lambda x, y: x * y,
    "by keyword": lambda *, x: x,
    "a class": nn.Linear,
    "without a shape": nn.LazyLinear(1),
    "without numbers": nn.Linear(2, 1, device="meta"),
    "into complex numbers": lambda x: (x * 1j).sum(),
    "into nothing": lambda x: x.sum().to("meta"),
    "into a sparse tensor": lambda x: x.to_sparse(),
    "into a float": lambda x: x.sum().item(),
    **{
        type(error).__name__: raising(error)
        for error in (ValueError("a\nb"), RecursionError(), KeyError("x"), StopIteration())
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_cannot_be_drawn_is_refused(name: str) -> None:
    expect_one_sentence(lambda: nets.picture(FUNCTIONS[name], X))


@pytest.mark.parametrize("x", [X[0, 0], X[:0], torch.ones(2, 5)], ids=["no axes", "no samples", "another width"])
def test_a_batch_of_a_wrong_shape_is_refused(x: Tensor) -> None:
    for call in (lambda: nets.picture(NETWORK, x), lambda: nets.explain(NETWORK, x, "0.weight[0,0]")):
        expect_one_sentence(call)


def test_an_empty_slice_is_drawn() -> None:
    drawn = nets.picture(lambda x: (x[:0] * 2).sum() + x.sum(), X)
    assert drawn.gradients["x"].tolist() == [[1.0, 1.0]] and drawn.to_html()
