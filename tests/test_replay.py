"""A replay answers only for what it has recorded: another network, loss or reduction, and a layer of the user's own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.data.batch import Batch
from nets.training.gradients.backpropagation import backpropagate
from nets.training.gradients.engines import GRADIENT_ENGINES
from nets.training.gradients.sample_norms import SAMPLED
from nets.training.replay.recording import Recording
from nets.training.replay.replayed import Replayed


def numbers(seed: int, samples: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    return Batch(x, torch.rand(samples, 2, generator=generator, dtype=torch.float64))


def network(seed: int = 1) -> nets.Network:
    return nets.mlp([3, 4, 2], generator=torch.Generator().manual_seed(seed)).double()


def close(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def halved(of: nets.Network) -> None:
    of[0].weight = nn.Parameter(of[0].weight.detach() / 2)


CHANGES: dict[str, Callable[[nets.Network, nets.Loss], tuple[nets.Network, nets.Loss]]] = {
    "another network": lambda of, loss: (network(seed=2), loss),
    "another loss": lambda of, loss: (of, nets.MeanSquaredError("sum")),
    "another reduction": lambda of, loss: (of, setattr(loss, "reduction", "sum") or loss),
    "another parameter": lambda of, loss: (halved(of) or of, loss),
    "another layer": lambda of, loss: (of.__setitem__(1, nets.mlp([1, 1], "sin", "sin")[1]) or of, loss),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_network_or_loss_is_differentiated_anew(change: str) -> None:
    engine, of, loss = GRADIENT_ENGINES["closed_form"](), network(), nets.MeanSquaredError()
    for seed in range(3):
        engine(of, loss, numbers(seed))
    before = backpropagate(of, loss, numbers(7))
    of, loss = CHANGES[change](of, loss)
    expected = backpropagate(of, loss, numbers(7))
    assert not torch.allclose(expected[1]["0.weight"], before[1]["0.weight"])
    for _ in range(3):
        close(engine(of, loss, numbers(7)), expected)


def recorded(engine: Replayed) -> bool:
    """Whether each shape of batches has a recording."""
    return all(replay.recording is not None for replay in engine._replays.values())


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_masked_loss_is_replayed_and_counts_the_targets_of_each_batch(reduction: str, sampled: bool) -> None:
    of, loss = network(), nets.MaskedCrossEntropy(reduction)
    engine = SAMPLED["closed_form"]() if sampled else GRADIENT_ENGINES["closed_form"]()
    counts = [
        [0, 1, -100, 1, -100, 0],
        [1, -100, -100, -100, -100, -100],
        [0, 0, 1, 1, 0, 1],
        [-100] * 6,
        [-100, 1, 0, 1, 1, 1],
    ]
    for number, targets in enumerate(counts):
        batch = Batch(numbers(number).inputs, torch.tensor(targets))
        found = [t.clone() for t in (engine(of, loss, batch)[0], *engine(of, loss, batch)[1].values())]
        value = loss(of(batch.inputs), batch.targets)
        expected = torch.autograd.grad(value, list(of.parameters()))
        for one, other in zip(found, (value.detach(), *expected), strict=True):
            close(one, other)
    assert recorded(engine._replayed if sampled else engine)


class Scaled(nets.Layer):
    """Y_ni = s X_ni, with a number s that is no parameter."""

    def __init__(self, scale: float = 3.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.scale * v


class ByNumber(Scaled):
    """Its scale depends on the sign of a sum: a decision by a number."""

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x if x.sum() > 0 else x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.scale * v if x.sum() > 0 else v


class ByComparison(Scaled):
    """The same decision by a function of PyTorch that returns True or False."""

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x if torch.equal(x.sum().sign(), torch.ones((), dtype=x.dtype)) else x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.scale * v if torch.equal(x.sum().sign(), torch.ones((), dtype=x.dtype)) else v


class ByShape(Scaled):
    """Subtracts the sum of the positive entries, whose number depends on the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x - x[x > 0].sum().detach()


class OutsideTorch(Scaled):
    """Its scale is computed by NumPy, which PyTorch's dispatcher does not see."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.from_numpy(x.detach().numpy().mean(keepdims=True))

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * torch.from_numpy(x.detach().numpy().mean(keepdims=True))


class Counting(Scaled):
    """Writes the number of its calls to a buffer."""

    def __init__(self, scale: float = 3.0) -> None:
        super().__init__(scale)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return self.scale * x


class Assigning(Scaled):
    """Keeps the number of its calls in an attribute."""

    count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        return self.scale * x


class Noisy(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + torch.rand_like(x)


class Stated(Scaled):
    recordable = False


def own(layer: nets.Layer) -> nets.Network:
    return nets.Network([*network(), layer]).double()


def test_a_layer_of_the_users_own_is_replayed() -> None:
    of, loss, engine = own(Scaled()), nets.MeanSquaredError(), Replayed(backpropagate)
    for number in range(5):
        close(engine(of, loss, numbers(number)), backpropagate(of, loss, numbers(number)))
    assert recorded(engine)
    of[-1].scale = 5.0
    for number in range(3):
        close(engine(of, loss, numbers(number)), backpropagate(of, loss, numbers(number)))


@pytest.mark.parametrize("kind", [ByNumber, ByComparison, ByShape, OutsideTorch, Stated, Counting, Assigning])
def test_a_layer_that_cannot_be_replayed_is_called_at_each_batch(kind: type[Scaled]) -> None:
    of, loss, engine = own(kind()), nets.MeanSquaredError(), Replayed(backpropagate)
    twin = own(kind())
    for number in range(5):
        close(engine(of, loss, numbers(number)), backpropagate(twin, loss, numbers(number)))
    assert not recorded(engine)
    if kind in (Counting, Assigning):
        assert of[-1].count == twin[-1].count == 5


def test_a_layer_that_draws_random_numbers_draws_at_each_batch() -> None:
    of, loss, engine = own(Noisy(1.0)), nets.MeanSquaredError(), GRADIENT_ENGINES["closed_form"]()
    torch.manual_seed(0)
    found = [float(engine(of, loss, numbers(0))[0]) for _ in range(4)]
    torch.manual_seed(0)
    assert found == [float(backpropagate(of, loss, numbers(0))[0]) for _ in range(4)] and len(set(found)) == 4


@pytest.mark.parametrize("registered", ["before the first batch", "after it"])
def test_a_hook_is_called_at_each_batch(registered: str) -> None:
    of, calls, loss, engine = network(), list[int](), nets.MeanSquaredError(), GRADIENT_ENGINES["closed_form"]()
    if registered == "after it":
        for number in range(3):
            engine(of, loss, numbers(number))
    of[1].register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    for number in range(3):
        engine(of, loss, numbers(number))
    assert calls == [6, 6, 6]


def test_a_buffer_in_other_memory_is_read_there() -> None:
    class Shifted(Scaled):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("shift", torch.ones(2, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * x + self.shift

    of, loss, engine = own(Shifted()), nets.MeanSquaredError(), Replayed(backpropagate)
    for number in range(6):
        if number == 3:
            of[-1].shift.data = torch.full((2,), 5.0, dtype=torch.float64)
        close(engine(of, loss, numbers(number)), backpropagate(of, loss, numbers(number)))
    assert recorded(engine)


class Refusing:
    """A recording that cannot be made."""

    def __init__(self, watch: object) -> None:
        raise RuntimeError("an operation cannot be repeated")


class OneWrongNumber(Recording):
    """A recording that gives another number from the second replay on."""

    replays = 0

    def replay(self) -> None:
        super().replay()
        self.replays += 1
        if self.replays > 1:
            self.result[1]["0.bias"][0] += 1


@pytest.mark.parametrize("made", [Refusing, OneWrongNumber])
def test_the_function_is_called_instead_of_a_wrong_recording(made: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nets.training.replay.replayed.Recording", made)
    of, loss, engine = network(), nets.MeanSquaredError(), Replayed(backpropagate)
    for number in range(4):
        close(engine(of, loss, numbers(number)), backpropagate(of, loss, numbers(number)))
    assert not recorded(engine)


def test_the_function_is_called_twice_for_each_shape() -> None:
    calls = []

    def counted(*at: Any) -> Any:
        calls.append(len(at[2]))
        return backpropagate(*at)

    of, loss, engine = network(), nets.MeanSquaredError(), Replayed(counted)
    for number in range(8):
        engine(of, loss, numbers(number, samples=6 if number % 2 else 5))
    assert sorted(calls) == [5, 5, 6, 6]
    assert recorded(engine)
