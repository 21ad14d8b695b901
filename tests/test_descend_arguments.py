"""`descend` refuses each wrong argument in one sentence, before it changes anything."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import nets
from nets.errors import InputError
from nets.records.contributions import single_contribution
from nets.training.gradients.source import BatchGradient
from nets.training.optimizers import UpdateRule
from tests.naming import named

X, T = torch.linspace(-1, 1, 12).reshape(4, 3), torch.linspace(0, 1, 8).reshape(4, 2)
RIGHT: dict[str, Any] = {
    "data": nets.Batch(X, T),
    "loss": nets.MeanSquaredError(),
    "learning_rate": 0.1,
    "epochs": None,
    "steps": 2,
    "batch_size": 3,
    "micro_batch_size": 2,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "engine": "closed_form",
    "seed": 1,
    "sample_norms": True,
}
HUGE = [2**63, 2**64, 10**400, 10**5_000]


def descend(**other: Any) -> list[nets.Step]:
    """The first two records of a descent; all arguments are checked on the way."""
    given = {**RIGHT, **other}
    network = given.pop("network", None) or nets.mlp([3, 2])
    return list(itertools.islice(nets.descend(network, **given), 2))


def check_sentence(error: BaseException) -> None:
    text = str(error)
    assert "\n" not in text and text.endswith(".") and len(text) < 500 and ("expected" in text or "must" in text)
    text.encode("utf-8")


WRONG: dict[str, list[Any]] = {
    "data": [None, X, (X, T), nets.Batch(X, None), nets.Batch(None, T), nets.Batch(X.numpy(), T.numpy()),
             nets.Batch(X, T[:3]), nets.Batch(X[:0], T[:0]), nets.Batch(X, T.long()),
             nets.Batch(X.to("meta"), T.to("meta")), nets.Batch(X, T.to("meta")),
             nets.Batch(X.to_sparse(), T), nets.Batch(X, T.to_sparse()), nets.Batch(X, T.double()),
             nets.Batch(X.to(torch.complex64), T)],
    "loss": [None, nn.MSELoss(), nn.functional.mse_loss, nets.MeanSquaredError, "mean_squared_error"],
    "learning_rate": [None, True, "0.1", 0, -1, math.nan, math.inf, 10**400, 10**5_000, 1j, torch.tensor(0.1), [0.1],
                      np.float32(0.1)],
    "epochs": [0, -1, True, 1.0, "1", math.nan, [1], torch.tensor(1)],
    "steps": [0, -1, True, 1.0, "1", math.inf, [1], np.int64(1)],
    "batch_size": [0, True, 2.0, "3", torch.tensor(2)],
    "micro_batch_size": [0, False, 2.0, "3", []],
    "momentum": [None, True, 1, 1.0, -0.1, math.nan, math.inf, "0", 10**400, torch.tensor(0.5)],
    "weight_decay": [None, True, -0.1, math.nan, math.inf, "0", 10**400, [0]],
    "engine": [None, 3, "magic", "", [], {}, "\ud800", nn.Tanh()],
    "seed": [None, True, -1, 1.0, "0", *HUGE, torch.tensor(1)],
    "sample_norms": [None, 0, 1, "False"],
    "rule": [3, "sgd", nets.training.optimizers.SGD, torch.optim.SGD, nets.training.optimizers.SGD(0.1)],
    "state": [3, {}, "latest.pt"],
    "gradient_source": [3, "accumulated", nets.training.gradients.backpropagate],
    "network": [nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2)), "mlp", nets.mlp([2, 2]), nets.mlp([3, 3]),
                nets.mlp([3, 2]).double()],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values], ids=named
)
def test_each_wrong_argument_is_refused_in_a_sentence(name: str, value: Any) -> None:
    with pytest.raises(InputError) as error:
        descend(**{name: value})
    check_sentence(error.value)


def test_the_right_arguments_are_accepted() -> None:
    assert len(descend()) == 2


@pytest.mark.parametrize("name", ["epochs", "steps", "batch_size", "micro_batch_size"])
@pytest.mark.parametrize("value", HUGE, ids=named)
def test_no_limit_is_too_large(name: str, value: int) -> None:
    assert len(descend(**{name: value})) == 2


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.binary(max_size=3),
    st.sampled_from([*HUGE, [], {}, object(), X, T, nn.Tanh(), np.int64(2), "{0}%s", "\ud800", 1e300, 1e-320, 5e-324]),
)  # fmt: skip
ARGUMENTS = st.dictionaries(st.sampled_from(sorted(RIGHT)), HOSTILE, max_size=3)


@given(other=ARGUMENTS)
@settings(max_examples=150)
def test_any_arguments_are_accepted_or_refused_in_a_sentence(other: dict[str, Any]) -> None:
    network = nets.mlp([3, 2])
    before: list[Tensor] = [p.detach().clone() for p in network.parameters()]
    data, state = (X.clone(), T.clone()), torch.random.get_rng_state()
    try:
        steps = descend(network=network, **other)
    except InputError as error:
        check_sentence(error)
        assert all(torch.equal(p, old) and p.grad is None for p, old in zip(network.parameters(), before, strict=True))
    except nets.DivergenceError as error:
        check_sentence(error)
    else:
        assert 1 <= len(steps) <= 2
    assert torch.equal(X, data[0]) and torch.equal(T, data[1])
    assert torch.equal(torch.random.get_rng_state(), state)


class Rule(UpdateRule):
    """A rule that returns what it is given."""

    learning_rate = 0.1

    def __init__(self, state: Any, change: Callable[[list[Tensor]], Any]) -> None:
        self.state, self.change = state, change

    def init(self, parameters: list[Tensor]) -> Any:
        return self.state

    def step(self, state: Any, parameters: list[Tensor], gradients: list[Tensor]) -> Any:
        return self.change(gradients)


WRONG_CHANGES: dict[str, Callable[[list[Tensor]], Any]] = {
    "nothing": lambda gradients: None,
    "too few": lambda gradients: gradients[:1],
    "a dict": lambda gradients: dict(enumerate(gradients)),
    "numbers": lambda gradients: [0.1, 0.1],
    "a row": lambda gradients: [gradient[0] for gradient in gradients],
    "flat": lambda gradients: [gradient.flatten() for gradient in gradients],
    "another precision": lambda gradients: [gradient.double() for gradient in gradients],
}


@pytest.mark.parametrize("change", list(WRONG_CHANGES))
def test_a_wrong_step_of_a_rule_is_refused_before_anything_moves(change: str) -> None:
    network = nets.mlp([3, 2])
    before = [parameter.detach().clone() for parameter in network.parameters()]
    with pytest.raises(InputError, match=r"the result of Rule\.step is") as error:
        descend(
            network=network, learning_rate=None, momentum=0.0, weight_decay=0.0, rule=Rule({}, WRONG_CHANGES[change])
        )
    check_sentence(error.value)
    assert all(map(torch.equal, network.parameters(), before))


@pytest.mark.parametrize(
    "state", [None, 3, [torch.ones(2)], {"a": 3}, {"a": [3]}, {"a": torch.ones(2)}, {3: [torch.ones(2)]}], ids=str
)
def test_a_wrong_state_of_a_rule_is_refused(state: Any) -> None:
    with pytest.raises(InputError, match=r"the result of Rule\.init is") as error:
        descend(learning_rate=None, momentum=0.0, weight_decay=0.0, rule=Rule(state, lambda gradients: gradients))
    check_sentence(error.value)


@pytest.mark.parametrize("rate", [None, "0.1", -1, math.nan])
def test_a_rule_without_a_learning_rate_is_refused(rate: Any) -> None:
    rule = Rule({}, lambda gradients: gradients)
    rule.learning_rate = rate
    with pytest.raises(InputError, match="the learning_rate of Rule is") as error:
        descend(learning_rate=None, momentum=0.0, weight_decay=0.0, rule=rule)
    check_sentence(error.value)


class Source:
    """A gradient source with this function."""

    def __init__(self, gradient_of: Any) -> None:
        self.gradient_of = gradient_of

    def prepare(self, spec: Any) -> Any:
        return self.gradient_of


RIGHT_GRADIENT = BatchGradient(
    torch.tensor(1.0), {"0.weight": torch.zeros(2, 3), "0.bias": torch.zeros(2)}, single_contribution(3)
)
WRONG_GRADIENTS: dict[str, tuple[Any, str]] = {
    "nothing": (None, "the gradient of Source"),
    "a pair": ((1, 2), "the gradient of Source"),
    "no accumulation": (RIGHT_GRADIENT._replace(accumulation=None), "the gradient of Source"),
    "a number as the loss": (RIGHT_GRADIENT._replace(loss=1.0), "the loss of Source"),
    "two losses": (RIGHT_GRADIENT._replace(loss=torch.ones(2)), "the loss of Source"),
    "no gradients": (RIGHT_GRADIENT._replace(gradients=None), "the dict of gradients of Source"),
    "another order": (
        RIGHT_GRADIENT._replace(gradients=dict(reversed(RIGHT_GRADIENT.gradients.items()))),
        "the dict of gradients of Source",
    ),
    "another shape": (
        RIGHT_GRADIENT._replace(gradients=RIGHT_GRADIENT.gradients | {"0.bias": torch.zeros(1)}),
        "the gradient of 0.bias by Source",
    ),
    "a list": (
        RIGHT_GRADIENT._replace(gradients=RIGHT_GRADIENT.gradients | {"0.bias": [0.0, 0.0]}),
        "the gradient of 0.bias by Source",
    ),
}


@pytest.mark.parametrize("case", list(WRONG_GRADIENTS))
def test_a_wrong_gradient_of_a_source_is_refused(case: str) -> None:
    gradient, what = WRONG_GRADIENTS[case]
    with pytest.raises(InputError, match=f"^{what} is") as error:
        descend(gradient_source=Source(lambda batch: gradient))
    check_sentence(error.value)


def test_a_source_that_prepares_no_function_is_refused() -> None:
    with pytest.raises(InputError, match=r"the result of Source\.prepare is None") as error:
        descend(gradient_source=Source(None))
    check_sentence(error.value)
    assert len(descend(gradient_source=Source(lambda batch: RIGHT_GRADIENT))) == 2
