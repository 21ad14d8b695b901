"""A descent that resumes from its state equals an uninterrupted descent bit for bit."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.architectures import Residual
from nets.calculus.layers import Dropout, Tanh
from nets.training.optimizers import OPTIMIZERS, SGD
from tests.adam import Adam

GENERATOR = torch.Generator().manual_seed(0)
DATA = nets.Batch(torch.randn(23, 3, generator=GENERATOR), torch.rand(23, 2, generator=GENERATOR))
SETTINGS: dict[str, dict[str, Any]] = {
    "momentum, micro-batches, ragged": {"learning_rate": 0.1, "momentum": 0.9, "batch_size": 5, "micro_batch_size": 2},
    "weight decay, sample norms": {"learning_rate": 0.1, "weight_decay": 0.1, "batch_size": 6, "sample_norms": True},
    "full batch": {"learning_rate": 0.1},
    "an Adam of one's own": {"rule": Adam(0.01), "batch_size": 5},
    **{name: {"rule": kind(0.01), "batch_size": 5, "micro_batch_size": 2} for name, kind in OPTIMIZERS.items()},
}


def network(seed: int = 1) -> nets.Network:
    return nets.mlp([3, 4, 2], generator=torch.Generator().manual_seed(seed))


def descend(of: nets.Network, **settings: Any) -> Any:
    return nets.descend(of, DATA, **({"loss": nets.MeanSquaredError(), "seed": 3} | settings))


def through_plain_values(state: nets.TrainState) -> nets.TrainState:
    """The state as a file would hold it: copies of tensors, and whole numbers."""
    saved: dict[str, Tensor | int] = {}
    for key, value in state.as_dict().items():
        assert type(key) is str and type(value) in (Tensor, int)
        saved[key] = (
            torch.tensor(value.tolist(), dtype=value.dtype).reshape(value.shape) if isinstance(value, Tensor) else value
        )
    return nets.TrainState.from_dict(saved)


@pytest.mark.parametrize("saved", [copy.deepcopy, through_plain_values], ids=["as it is", "as plain values"])
@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
@pytest.mark.parametrize("settings", list(SETTINGS))
def test_seven_steps_and_five_resumed_steps_equal_twelve_steps(settings: str, engine: str, saved: Any) -> None:
    """Seven steps end within the second epoch, whose last batch is smaller."""
    whole, parts = network(), network()
    given = SETTINGS[settings] | {"engine": engine}
    expected = list(descend(whole, steps=12, **given))
    first = descend(parts, steps=7, **given)
    found = list(first)
    state = saved(first.state)
    other = network(seed=2)
    found += descend(other, steps=12, state=state, **(given | {"seed": 99}))
    for one, two in zip(other.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, two)
    assert found == expected and [step.epoch for step in found] == [step.epoch for step in expected]


@pytest.mark.parametrize("made", range(1, 12))
def test_a_descent_resumes_from_any_step_of_an_epoch(made: int) -> None:
    whole, parts = network(), network()
    given = SETTINGS["momentum, micro-batches, ragged"]
    expected = list(descend(whole, epochs=3, **given))
    steps = descend(parts, epochs=3, **given)
    found = list(itertools.islice(steps, made))
    state = steps.state
    next(steps)  # moves the parameters of the network; the state is a copy
    found += descend(network(2), epochs=3, state=state, **given)
    assert found == expected


def test_a_finished_descent_resumes_only_for_more_steps() -> None:
    given = SETTINGS["full batch"]
    first = descend(network(), epochs=3, **given)
    assert len(list(first)) == 3
    assert list(descend(network(), epochs=3, state=first.state, **given)) == []
    assert [step.step for step in descend(network(), epochs=5, state=first.state, **given)] == [4, 5]


def test_the_network_gets_the_parameters_of_the_state_at_once() -> None:
    first = descend(network(), steps=3, **SETTINGS["full batch"])
    list(first)
    other = network(2)
    descend(other, steps=4, state=first.state, **SETTINGS["full batch"])
    assert all(torch.equal(p, first.state.parameters[name]) for name, p in other.named_parameters())


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    first = descend(network(), steps=3, rule=SGD(0.1, momentum=0.9), batch_size=5)
    list(first)
    state = first.state
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"learning_rate": 0.1}, "velocity"),
        ({"rule": Adam(0.1)}, "mean"),
        (
            {"learning_rate": 0.1, "momentum": 0.9, "data": nets.Batch(DATA.inputs[:4], DATA.targets[:4])},
            "samples 23.* 4;",
        ),
        *(
            ({"learning_rate": 0.1, "momentum": 0.9} | sizes, fact)
            for sizes, fact in (
                ({"batch_size": 6}, "batch_size 5.* 6;"),
                ({"batch_size": None}, "batch_size 5.* 23;"),
                ({"micro_batch_size": 2}, "micro_batch_size 5.* 2;"),
            )
        ),
        ({"learning_rate": 0.1, "momentum": 0.9, "network": nets.mlp([3, 5, 2])}, r"0\.weight"),
        ({"learning_rate": 0.1, "momentum": 0.9, "network": nets.mlp([3, 2])}, r"0\.weight"),
    ]
    for given, fact in wrong:
        arguments = {
            "network": network(2),
            "data": DATA,
            "loss": nets.MeanSquaredError(),
            "steps": 9,
            "batch_size": 5,
            "state": state,
        } | given
        before = [p.detach().clone() for p in arguments["network"].parameters()]
        with pytest.raises(nets.InputError, match=fact):
            nets.descend(**arguments)
        assert all(map(torch.equal, before, arguments["network"].parameters()))


def test_a_dictionary_that_is_not_a_state_is_refused() -> None:
    first = descend(network(), steps=1, **SETTINGS["full batch"])
    list(first)
    saved = first.state.as_dict()
    for key, value in (("step", 1.5), ("step", -1), ("epoch", True), ("remaining", torch.ones(3)), ("remaining", None)):
        with pytest.raises(nets.InputError, match=f"'{key}'"):
            nets.TrainState.from_dict({**saved, key: value})  # type: ignore[dict-item]
    for key in ("step", "epoch", "remaining", "sizes.batch_size"):
        with pytest.raises(nets.InputError, match=f"'{key}'"):
            nets.TrainState.from_dict({name: value for name, value in saved.items() if name != key})
    with pytest.raises(nets.InputError, match="'more'"):
        nets.TrainState.from_dict({**saved, "more": 1})
    with pytest.raises(nets.InputError, match=r"'rule\.velocity\.first'"):
        nets.TrainState.from_dict({**saved, "rule.velocity.first": torch.ones(1)})
    for value in (None, 3, [saved]):
        with pytest.raises(nets.InputError, match="the state is"):
            nets.TrainState.from_dict(value)  # type: ignore[arg-type]
    without = {name: value for name, value in saved.items() if name != "generators.order"}
    with pytest.raises(nets.InputError, match="nothing for 'order'"):
        descend(network(), steps=2, state=nets.TrainState.from_dict(without), **SETTINGS["full batch"])
    with pytest.raises(nets.InputError, match=r"0\.weight"):
        lost = {name: value for name, value in saved.items() if name != "parameters.0.weight"}
        descend(network(), steps=2, state=nets.TrainState.from_dict(lost), **SETTINGS["full batch"])


class Noise(nets.Layer):
    """Y = X + a random number each, from a generator of the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.source = torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(x.shape, generator=self.source) / 10

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v


class NoiseFromAList(Noise):
    """The same, with the generator where the protocol does not look for it."""

    def __init__(self) -> None:
        super().__init__()
        self.sources = [self.__dict__.pop("source")]

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(x.shape, generator=self.sources[0]) / 10

    def random_generators(self) -> dict[str, torch.Generator]:
        return {"first": self.sources[0]}


DRAWING: dict[str, Callable[[], nets.Layer]] = {
    "Dropout": lambda: Dropout(0.3),
    "a converted Dropout": lambda: nets.Network.from_torch(nn.Sequential(nn.Dropout(0.3)), seed=4),
    "Dropout in a residual": lambda: Residual([Dropout(0.3), Tanh()]),
    "a generator": Noise,
    "a generator in a sequence": lambda: nets.Network([Noise(), Tanh()]),
    "a generator in a list": NoiseFromAList,
}


def drawing(kind: str, seed: int = 1) -> nets.Network:
    return nets.Network([*network(seed).layers, DRAWING[kind]()])


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
@pytest.mark.parametrize("kind", DRAWING)
def test_a_resumed_descent_draws_the_random_numbers_of_the_uninterrupted_one(kind: str, engine: str) -> None:
    given = SETTINGS["momentum, micro-batches, ragged"] | {"engine": engine}
    whole = drawing(kind)
    expected = list(descend(whole, steps=12, **given))
    first = descend(drawing(kind), steps=7, **given)
    found = list(first)
    other = drawing(kind, seed=2)
    other(DATA.inputs)  # draws
    found += descend(other, steps=12, state=through_plain_values(first.state), **given)
    assert found == expected
    assert all(map(torch.equal, other.parameters(), whole.parameters()))
    assert len({step.loss for step in found}) == 12


def test_a_state_without_the_generator_of_a_layer_is_refused() -> None:
    first = descend(network(), steps=1, **SETTINGS["full batch"])
    list(first)
    drawn = descend(drawing("a generator"), steps=1, **SETTINGS["full batch"])
    list(drawn)
    with pytest.raises(nets.InputError, match=r"nothing for 'network\.4\.source'"):
        descend(drawing("a generator"), steps=2, state=first.state, **SETTINGS["full batch"])
    with pytest.raises(nets.InputError, match=r"'network\.4\.source' where .* nothing"):
        descend(nets.Network([*network().layers, Tanh()]), steps=2, state=drawn.state, **SETTINGS["full batch"])


def test_a_descent_on_a_data_set_uses_its_training_split() -> None:
    ours, theirs = network(), network()
    other = nets.Batch(DATA.inputs[:2], DATA.targets[:2])
    settings = {"loss": nets.MeanSquaredError(), "learning_rate": 0.1, "steps": 3}
    assert list(nets.descend(ours, nets.DataSet("made", DATA, other), **settings)) == list(
        nets.descend(theirs, DATA, **settings)
    )
