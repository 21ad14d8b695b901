"""Gradient descent equals `torch.optim.SGD` with both engines and any micro-batches, and its records are right."""

import dataclasses
import math
from itertools import chain

import pytest
import torch
from torch import nn

import nets
from nets.calculus.losses import CrossEntropy, Loss, MeanSquaredError
from nets.data.batch import Batch
from nets.training.descend import count_steps
from nets.training.evaluation import evaluate
from nets.training.gradients.accumulation import accumulate
from nets.training.gradients.engines import GRADIENT_ENGINES
from tests.cases import NETWORKS, Case

GENERATOR = torch.Generator().manual_seed(0)
DATA = Batch(
    torch.randn(10, 3, generator=GENERATOR, dtype=torch.float64),
    torch.rand(10, 2, generator=GENERATOR, dtype=torch.float64),
)
X = DATA.inputs
CLASSES = Batch(DATA.inputs, torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1, 0]))
LOSSES = {"mean squared error": (MeanSquaredError(), DATA), "cross entropy": (CrossEntropy(), CLASSES)}
SETTINGS = [{}, {"momentum": 0.9}, {"weight_decay": 0.01}, {"momentum": 0.5, "weight_decay": 0.1}]


def _network(seed: int = 1) -> nets.Network:
    return nets.mlp([3, 4, 2], output="identity", generator=torch.Generator().manual_seed(seed)).double()


def _descend(
    network: nets.Network, data: Batch = DATA, loss: Loss | None = None, **settings: object
) -> list[nets.Step]:
    defaults = {"learning_rate": 0.1, "steps": 7, "loss": loss or MeanSquaredError()}
    return list(nets.descend(network, data, **(defaults | settings)))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
@pytest.mark.parametrize("loss_name", list(LOSSES))
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_full_batch_descent_equals_torch_sgd(engine: str, loss_name: str, settings: dict) -> None:
    loss, data = LOSSES[loss_name]
    network, twin = _network(), _network()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, **settings)
    for step in nets.descend(network, data, loss=loss, learning_rate=0.1, steps=20, engine=engine, **settings):
        optimizer.zero_grad()
        value = loss(twin(data.inputs), data.targets)
        value.backward()
        assert step.loss == pytest.approx(value.item(), rel=1e-12)
        for name, parameter in twin.named_parameters():
            assert step.gradient_norm[name] == pytest.approx(parameter.grad.norm().item(), rel=1e-11)
        before = {name: parameter.detach().clone() for name, parameter in twin.named_parameters()}
        optimizer.step()
        for name, parameter in twin.named_parameters():
            expected = (parameter.detach() - before[name]).norm() / before[name].norm()
            assert step.update_ratio[name] == pytest.approx(expected.item(), rel=1e-9)
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", [case for case in NETWORKS if any(True for _ in case.network.parameters())], ids=str)
def test_both_engines_derive_the_same_gradient(case: Case) -> None:
    target = torch.zeros_like(case.network(case.x))
    results = [
        engine()(case.network, MeanSquaredError(), Batch(case.x, target)) for engine in GRADIENT_ENGINES.values()
    ]
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
@pytest.mark.parametrize("loss_name", list(LOSSES))
@pytest.mark.parametrize("size", [1, 3, 4, 9, 10, 50])
def test_micro_batches_of_any_size_give_the_gradient_of_the_whole(engine: str, loss_name: str, size: int) -> None:
    loss, data = LOSSES[loss_name]
    whole = accumulate(GRADIENT_ENGINES[engine](), _network(), loss, data, None)
    pieces = accumulate(GRADIENT_ENGINES[engine](), _network(), loss, data, size)
    torch.testing.assert_close(pieces[0], whole[0], rtol=1e-13, atol=0)
    torch.testing.assert_close(pieces[1], whole[1], rtol=1e-13, atol=1e-16)
    assert sum(pieces[2].sizes) == 10 and math.isclose(sum(pieces[2].weights), 1)


def test_the_weights_of_ragged_micro_batches_are_their_shares_of_the_samples() -> None:
    """[4, 4, 2]: dividing by three instead, as is often done, gives a gradient with an error of tens of per cent."""
    engine, loss = GRADIENT_ENGINES["closed_form"](), MeanSquaredError()
    _, right, accumulation = accumulate(engine, _network(), loss, DATA, 4)
    assert accumulation.sizes == (4, 4, 2) and accumulation.weights == (0.4, 0.4, 0.2)
    pieces = [engine(_network(), loss, DATA.take(slice(start, start + 4)))[1] for start in (0, 4, 8)]
    wrong = {name: sum(piece[name] for piece in pieces) / 3 for name in right}
    off = math.sqrt(sum((wrong[n] - right[n]).norm() ** 2 for n in right) / sum(right[n].norm() ** 2 for n in right))
    assert off > 0.01


def test_the_record_has_the_sizes_and_the_weighted_loss() -> None:
    steps = _descend(_network(), batch_size=5, micro_batch_size=2, epochs=2, steps=None)
    assert [step.accumulation.sizes for step in steps] == [(2, 2, 1)] * 4
    for step in steps:
        weighted = sum(w * ell for w, ell in zip(step.accumulation.weights, step.accumulation.losses, strict=True))
        assert step.loss == pytest.approx(weighted, rel=1e-13)


def test_accumulated_gradients_give_the_trajectory_of_whole_batches() -> None:
    whole, pieces = _network(), _network()
    _descend(whole, batch_size=5, steps=50, momentum=0.9)
    _descend(pieces, batch_size=5, steps=50, momentum=0.9, micro_batch_size=2)
    for one, other in zip(whole.parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_every_epoch_visits_every_sample_once_in_a_new_order() -> None:
    seen: list[list[float]] = []

    class Spy(MeanSquaredError):
        recordable = False

        def gradient(self, y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            seen.append(target[:, 0].tolist())
            return super().gradient(y, target)

    steps = _descend(_network(), loss=Spy(), batch_size=4, epochs=2, steps=None)
    assert [len(targets) for targets in seen] == [4, 4, 2, 4, 4, 2]
    first, second = [*chain(*seen[:3])], [*chain(*seen[3:])]
    assert sorted(first) == sorted(second) == sorted(DATA.targets[:, 0].tolist())
    assert first != second
    assert [step.epoch for step in steps] == [1, 1, 1, 2, 2, 2]
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]


def test_the_trajectory_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = _descend(_network(), batch_size=3, seed=5)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    again = _descend(_network(), batch_size=3, seed=5)
    assert first == again
    assert torch.equal(state, torch.random.get_rng_state())
    assert first != _descend(_network(), batch_size=3, seed=6)


def test_the_record_cannot_be_changed() -> None:
    (step,) = _descend(_network(), steps=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.step = 0  # type: ignore[misc]


def test_each_step_leaves_the_gradient_in_grad() -> None:
    network = _network()
    (step,) = _descend(network, steps=1)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.norm().item() == pytest.approx(step.gradient_norm[name])
    assert step.total_gradient_norm == pytest.approx(math.hypot(*step.gradient_norm.values()))


def test_the_first_update_ratio_of_a_zero_parameter_is_infinite() -> None:
    (step,) = _descend(_network(), steps=1)
    assert step.update_ratio["0.bias"] == math.inf and math.isfinite(step.update_ratio["0.weight"])


def test_a_diverging_descent_records_the_step_and_keeps_the_last_finite_parameters() -> None:
    network = nets.mlp([3, 2], output="identity", generator=torch.Generator().manual_seed(1)).double()
    records = []
    with pytest.raises(
        nets.DivergenceError, match=r"step \d+: the loss is (inf|nan).*lower the learning rate \(1e\+30\)"
    ):
        for step in nets.descend(network, DATA, loss=MeanSquaredError(), learning_rate=1e30, steps=100):
            records.append(step)
    assert not math.isfinite(records[-1].total_gradient_norm) and len(records) < 100
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_count_steps_equals_the_steps_of_descend() -> None:
    for epochs, limit, batch_size in [(3, None, 4), (3, 5, 4), (None, 11, None), (2, None, None)]:
        settings = {"epochs": epochs, "steps": limit, "batch_size": batch_size}
        assert len(_descend(_network(), **settings)) == count_steps(10, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate is -0.1; expected a finite number above 0"),
        ({"learning_rate": 0}, "learning_rate is 0; expected a finite number above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"momentum": 1.0}, "momentum is 1.0; expected a finite number of at least 0 and below 1"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"batch_size": 0}, "batch_size is 0; expected a whole number of at least 1"),
        ({"micro_batch_size": 2.5}, "micro_batch_size is 2.5"),
        ({"epochs": 0}, "epochs is 0"),
        ({"steps": None}, "neither epochs nor steps"),
        ({"engine": "magic"}, "engine is 'magic'; expected 'closed_form' or 'autograd'"),
        ({"loss": CrossEntropy()}, "the targets of cross entropy have the shape"),
        ({"data": Batch(DATA.inputs[:, :2], DATA.targets)}, "with 3 inputs was given X with 2 features"),
        ({"data": Batch(DATA.inputs.float(), DATA.targets)}, "X is torch.float32"),
        ({"network": nets.Network.from_torch(nn.Tanh()), "data": Batch(X, X)}, "no parameter that requires"),
    ],
)  # fmt: skip
def test_an_argument_out_of_range_is_refused_before_anything_is_computed(settings: dict, message: str) -> None:
    arguments = {"network": _network(), "data": DATA, "loss": MeanSquaredError(), "learning_rate": 0.1, "steps": 3}
    with pytest.raises(nets.InputError, match=message):
        nets.descend(**(arguments | settings))


def test_accuracy_is_the_share_of_samples_whose_largest_output_is_right() -> None:
    network = nets.Network([nets.Network.from_torch(nn.Identity())[0]])
    y = torch.tensor([[1.0, 0.0], [0.2, 0.9], [0.6, 0.5], [0.0, 0.1]])
    assert evaluate(network, CrossEntropy(), Batch(y, torch.tensor([0, 1, 1, 1])), classes=2).accuracy == 0.75
    signed = torch.tensor([[1.0, -1], [-1, 1], [-1, 1], [-1, 1]])
    result = evaluate(network, MeanSquaredError(), Batch(y, signed), classes=2)
    assert result.accuracy == 0.75 and result.loss == pytest.approx(((y - signed) ** 2).mean().item())
    assert evaluate(network, MeanSquaredError(), Batch(y, signed)).accuracy is None
