"""Arguments that `verify` refuses, each in one sentence; nothing of the caller's changes."""

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import nets
from nets.errors import InputError, quoted
from tests.naming import named

X = torch.tensor([[0.3, -0.8]])
LINEAR = nn.Linear(2, 1)
HUGE = [2**63, 10**400, 10**5_000]


def expect_one_sentence(error: BaseException) -> None:
    text = str(error)
    assert "\n" not in text and text.endswith(".") and len(text) < 600
    text.encode("utf-8")


class Returns(nn.Module):
    """What a function makes of a right output."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.function = nn.Linear(2, 1), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.linear(x))


def raising(error: BaseException) -> Callable[[Tensor], Any]:
    def function(y: Tensor) -> Any:
        raise error

    return function


def quantised(y: Tensor) -> Tensor:
    return torch.quantize_per_tensor(y.detach(), 0.1, 0, torch.quint8)


MODULES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a class": lambda: nn.Linear,
    "a function": lambda: torch.tanh,
    "a tensor": lambda: X,
    "no shape yet": lambda: nn.LazyLinear(2),
    "without numbers": lambda: nn.Linear(2, 1, device="meta"),
    "without a forward": nn.Module,
    "a list of modules": lambda: nn.ModuleList([LINEAR]),
    **{f"raises {type(error).__name__}": lambda error=error: Returns(raising(error))  # type: ignore[misc]
       for error in (StopIteration(), RecursionError("deep"), MemoryError(), NotImplementedError(), AssertionError())},
    **{f"returns {name}": lambda function=function: Returns(function)  # type: ignore[misc]
       for name, function in {
           "None": lambda y: None, "an int": lambda y: 3, "truth values": lambda y: y > 0, "a str": lambda y: "{0}%s",
           "a generator": lambda y: (y for _ in range(2)), "a set": lambda y: {y},
           "an array": lambda y: y.detach().numpy(),
           "a module": lambda y: LINEAR, "no numbers": lambda y: y[:0], "sparse": lambda y: y.to_sparse(),
           "meta": lambda y: y.to("meta"), "quantised": quantised}.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of what is beta in PyTorch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_modules_that_cannot_be_verified_are_input_errors(name: str) -> None:
    with pytest.raises(InputError) as error:
        nets.verify(MODULES[name](), X)
    expect_one_sentence(error.value)


INPUTS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "none": lambda: (),
    "two": lambda: (X, X),
    "None": lambda: (None,),
    "a str": lambda: ("{0}%s",),
    "an array": lambda: (X.numpy(),),
    "a number": lambda: (3,),
    "a module": lambda: (LINEAR,),
    "a list": lambda: ([X],),
    "whole numbers": lambda: (X.long(),),
    "truth values": lambda: (X > 0,),
    "complex numbers": lambda: (X.to(torch.complex64),),
    "eight bits": lambda: (X.to(torch.float8_e4m3fn),),
    "without numbers": lambda: (X.to("meta"),),
    "sparse": lambda: (X.to_sparse(),),
    "sparse by rows": lambda: (X.to_sparse_csr(),),
    "quantised": lambda: (quantised(X),),
    "nested": lambda: (torch.nested.nested_tensor([X, X]),),
    "no samples": lambda: (X[:0],),
    "NaN": lambda: (X * math.nan,),
    "infinity": lambda: (X * math.inf,),
    "another width": lambda: (torch.ones(2, 3),),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of what is beta in PyTorch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inputs_that_cannot_be_used_are_input_errors(name: str) -> None:
    with pytest.raises(InputError) as error:
        nets.verify(LINEAR, *INPUTS[name]())
    expect_one_sentence(error.value)


SHAPE = (1, 1, 1, 2)
OPTIONS: dict[str, list[Any]] = {
    "coverage": [None, 3, "all", [], torch.ones(2), np.ones(2), {}, "\ud800", 10**5_000],
    "seed": [None, True, -1, 1.0, "0", *HUGE, torch.tensor(1), [1]],
    "order": [None, 0, 3, True, 1.0, "1", [1], torch.tensor([1, 2]), np.array([1, 2]), 10**5_000],
    "dtype": [None, torch.float64, "float32", [], torch.ones(2)],
    "closed_form": [3, "f", [], lambda: 1, lambda *_: None, lambda *_: {"weight": 3}, lambda *_: {"x": X},
    lambda *_: {3: X},
                    lambda *_: {"weight": torch.ones(3)}, lambda *_: {"weight": torch.ones(SHAPE, device="meta")},
                    lambda *_: {"weight": torch.ones(SHAPE).to_sparse()}],
    "intended": ["weight", None, 3, ("nothing",), (3,), {"weight"}, (["weight"],), torch.ones(2)],
    "forward": [None, True, "always", [], torch.ones(2)],
    "engines": [3, "x", [], {"an engine": 3}, {3: None}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in OPTIONS.items() for value in values], ids=named
)
def test_unknown_options_are_input_errors(name: str, value: Any) -> None:
    with pytest.raises(InputError) as error:
        nets.verify(LINEAR, X, **{name: value})
    expect_one_sentence(error.value)


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.binary(max_size=3),
    st.complex_numbers(),
    st.sampled_from([*HUGE, [], {}, (), object(), LINEAR, np.ones(2), torch.ones(2), "{0}%s", "\ud800", math.nan]),
)  # fmt: skip
LEAVES = st.sampled_from([make for make in INPUTS.values()]).map(lambda make: make()) | HOSTILE.map(lambda one: (one,))
WRONG = st.dictionaries(st.sampled_from(sorted(OPTIONS)), HOSTILE, max_size=2)


@given(inputs=st.just((X,)) | LEAVES | st.lists(HOSTILE, max_size=3).map(tuple), options=WRONG)
@settings(max_examples=60)
def test_every_argument_gives_a_certificate_or_an_input_error(inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
    module = copy.deepcopy(LINEAR)
    before, state = {name: value.clone() for name, value in module.state_dict().items()}, torch.random.get_rng_state()
    written = quoted((inputs, options))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is beta in PyTorch
        try:
            certificate = nets.verify(module, *inputs, **options)
        except InputError as error:
            expect_one_sentence(error)
        else:
            assert certificate.sentence().encode() and str(certificate).encode()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert quoted((inputs, options)) == written
