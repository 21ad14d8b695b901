"""A layer whose code may read what changes is called at each batch, and no value that has changed is replayed."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.layers import ACTIVATIONS, Tanh
from nets.calculus.losses import LOSSES
from nets.data.batch import Batch
from nets.training.gradients.backpropagation import backpropagate
from nets.training.replay.purity import Purity
from nets.training.replay.replayed import Replayed
from tests.own_layers import CASES
from tests.test_replay import Scaled, close, network, numbers, own, recorded


class Schedule:
    """A plain object with a number."""

    temperature = 3.0


SCHEDULE, TEMPERATURES = Schedule(), [3.0]
TEMPERATURE = 3.0


class ByList(Scaled):
    """Reads a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.temperatures = [3.0]

    def forward(self, x: Tensor) -> Tensor:
        return self.temperatures[-1] * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.temperatures[-1] * v

    def change(self) -> None:
        self.temperatures.append(self.temperatures[-1] * 0.9)


class ByObject(Scaled):
    """Reads the attribute of a plain object."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule()

    def forward(self, x: Tensor) -> Tensor:
        return self.schedule.temperature * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.schedule.temperature * v

    def change(self) -> None:
        self.schedule.temperature *= 0.9


class ByGlobalList(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        return TEMPERATURES[-1] * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return TEMPERATURES[-1] * v

    def change(self) -> None:
        TEMPERATURES[0] *= 0.9


class ByGlobalObject(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        return SCHEDULE.temperature * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return SCHEDULE.temperature * v

    def change(self) -> None:
        SCHEDULE.temperature *= 0.9


class ByCounter(Scaled):
    """Its scale falls at each call: the count is a generator's."""

    def __init__(self) -> None:
        super().__init__()
        self.counter = itertools.count(1)

    def forward(self, x: Tensor) -> Tensor:
        return x / next(self.counter)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * 0.5

    def change(self) -> None:
        pass


class ByGlobalNumber(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        return TEMPERATURE * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return TEMPERATURE * v

    def change(self) -> None:
        globals()["TEMPERATURE"] *= 0.9


class ByClassAttribute(Scaled):
    temperature = 3.0

    def forward(self, x: Tensor) -> Tensor:
        return self.temperature * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.temperature * v

    def change(self) -> None:
        type(self).temperature *= 0.9


class ByProperty(ByClassAttribute):
    """Reads a class attribute through a property and a function of its module."""

    @property
    def factor(self) -> float:
        return identity(self.temperature)

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.factor * v


def identity(value: float) -> float:
    return value * TEMPERATURE / TEMPERATURE


class ByMethod(Scaled):
    """Its methods are exchanged."""

    def change(self) -> None:
        type(self).forward = lambda self, x: 5.0 * x
        type(self).pullback = lambda self, v, x, y: 5.0 * v


def by_closure() -> Scaled:
    """Reads a variable of the function that has made its class."""
    temperature = 3.0

    class ByClosure(Scaled):
        def forward(self, x: Tensor) -> Tensor:
            return temperature * x

        def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return temperature * v

        def change(self) -> None:
            nonlocal temperature
            temperature *= 0.9

    return ByClosure()


def decorated() -> Scaled:
    """Its methods are wrapped by a decorator of PyTorch, and read a list."""
    temperatures = [3.0]

    class Decorated(Scaled):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return temperatures[0] * x

        @torch.no_grad()
        def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return temperatures[0] * v

        def change(self) -> None:
            temperatures[0] *= 0.9

    return Decorated()


VARIABLE = [ByList, ByObject, ByGlobalList, ByGlobalObject, ByCounter, decorated]
"""Layers that read what changes unseen."""

SEEN = [ByGlobalNumber, ByClassAttribute, ByProperty, ByMethod, by_closure]
"""Layers that read what is compared before each replay."""


@pytest.mark.parametrize("make", [*VARIABLE, *SEEN], ids=lambda make: make.__name__)
def test_a_layer_is_never_replayed_with_changed_values(make: Callable[[], Scaled]) -> None:
    of, loss, engine = own(make()), nets.MeanSquaredError(), Replayed(backpropagate)
    found = []
    for _ in range(4):
        for _ in range(3):
            loss_of, gradients = engine(of, loss, numbers(0))
            if make is not ByCounter:
                close((loss_of, gradients), backpropagate(of, loss, numbers(0)))
            found.append(float(loss_of))
        of[-1].change()
    if make is ByCounter:
        twin = own(make())
        expected = [float(backpropagate(twin, loss, numbers(0))[0]) for _ in range(12)]
        assert found == pytest.approx(expected, rel=1e-12)
    assert len(set(found)) >= 2 and recorded(engine) == (make in SEEN)


def test_a_side_effect_takes_place_at_each_batch() -> None:
    """A method that appends to a list is found by its code; one that promises to be recordable is called
    twice: to record, and to verify the replay."""
    calls = []

    class Traced(Tanh):
        def slope(self, z: Tensor, y: Tensor) -> Tensor:
            calls.append(len(z))
            return super().slope(z, y)

    class Promised(Traced):
        recordable = True

    for kind, expected in ((Traced, [6] * 5), (Promised, [6] * 2)):
        calls.clear()
        of, engine, loss = nets.Network([network()[0], kind()]), Replayed(backpropagate), nets.MeanSquaredError()
        data = Batch(numbers(0).inputs, torch.zeros(6, 4, dtype=torch.float64))
        for _ in range(5):
            engine(of, loss, data)
        assert calls == expected


@pytest.mark.parametrize("layer", [*ACTIVATIONS.values(), *(case.layer for case in CASES.values())])
def test_layers_that_compute_with_tensors_alone_are_recorded(layer: Callable[[], nets.Layer]) -> None:
    assert Purity([layer()]).pure and all(Purity([loss()]).pure for loss in LOSSES.values())
