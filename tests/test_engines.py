"""Both engines follow one trajectory for every activation, loss and setting; a recording repeats its operations."""

import itertools

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.layers import ACTIVATIONS, Tanh
from nets.calculus.losses import LOSSES
from nets.data.batch import Batch
from nets.training.gradients.backpropagation import backpropagate
from nets.training.gradients.engines import GRADIENT_ENGINES
from nets.training.replay.recording import Recording, watched
from tests.in_matrix import chosen_in_test
from tests.loss_rows import ROWS

STEPS = 1_000
SETTINGS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "weight decay": {"weight_decay": 0.01},
    "both": {"momentum": 0.5, "weight_decay": 0.1},
    "ragged micro-batches": {"micro_batch_size": 3},
    "all of it": {"momentum": 0.9, "weight_decay": 0.01, "micro_batch_size": 3},
}
# Every activation and every loss with one setting, and every setting with one of them.
PAIRS = list(itertools.product(ACTIVATIONS, LOSSES, ["plain"]))
TABLE = [
    *chosen_in_test(PAIRS, lambda row: row[0] == "tanh" or row[1] == "cross_entropy"),
    *(("tanh", "cross_entropy", setting) for setting in SETTINGS if setting != "plain"),
]
"""Each pair of an activation and a loss, and each setting. `make test` takes each of them with one of the others."""


replayed = GRADIENT_ENGINES["closed_form"]


def data(loss: str, dtype: torch.dtype) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    targets = torch.rand(30, 3, generator=generator, dtype=torch.float64)
    return Batch(x, ROWS[loss].targets(targets)).to(dtype)


def trained(engine: str, activation: str, loss: str, setting: str, dtype: torch.dtype) -> list[Tensor]:
    network = nets.mlp([4, 5, 3], activation, "identity", generator=torch.Generator().manual_seed(1)).to(dtype)
    steps = nets.descend(
        network,
        data(loss, dtype),
        loss=LOSSES[loss](),
        learning_rate=0.01,
        steps=STEPS,
        batch_size=8,
        engine=engine,
        **SETTINGS[setting],
    )
    assert sum(1 for _ in steps) == STEPS
    return [parameter.detach() for parameter in network.parameters()]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
@pytest.mark.parametrize(("activation", "loss", "setting"), TABLE)
def test_a_thousand_steps_lead_to_the_same_weights(
    activation: str, loss: str, setting: str, dtype: torch.dtype, tolerance: float
) -> None:
    """Up to the tolerance times the largest entry of each parameter."""
    found = (trained(engine, activation, loss, setting, dtype) for engine in ("closed_form", "autograd"))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_a_recording_equals_the_formulas(activation: str, loss: str) -> None:
    """At parameters and samples that were not recorded, and more than once, since results overwrite operands.

    To 1e-13 of the largest entry: two BLAS libraries add the terms of a sum in different orders, and a sum that comes
    out small has the rounding of its terms.
    """
    network = nets.mlp([4, 6, 6, 3], activation, activation).double()
    batch, objective = data(loss, torch.float64), LOSSES[loss]()
    engine, generator = replayed(), torch.Generator().manual_seed(2)
    for size in (8, 8, 6, 8, 6):
        micro = batch.take(torch.randperm(30, generator=generator)[:size])
        for parameter in network.parameters():
            parameter.data.normal_(generator=generator)
        expected = backpropagate(network, objective, micro)
        found = engine(network, objective, micro)
        for ours, formula in zip((found[0], *found[1].values()), (expected[0], *expected[1].values()), strict=True):
            assert (ours - formula).abs().max() <= 1e-13 * formula.abs().max()


def test_a_recording_takes_no_new_memory() -> None:
    network = nets.mlp([64, 256, 10]).double()
    batch = Batch(torch.rand(64, 64), torch.rand(64, 10)).to(torch.float64)
    recording = Recording(watched(lambda: backpropagate(network, nets.MeanSquaredError(), batch))[0])
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        recording.replay()
    taken = sum(event.cpu_memory_usage for event in profile.events() if event.cpu_memory_usage > 0)
    # Numbers among the operands, such as the 2 of a square, become tensors of one number each.
    assert taken <= 1_000


def test_a_wrong_formula_is_wrong_in_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no second set of formulas."""
    network, batch = nets.mlp([4, 3]), Batch(torch.rand(5, 4), torch.rand(5, 3))
    right = replayed()(network, nets.MeanSquaredError(), batch)[1]["0.weight"].clone()
    monkeypatch.setattr(Tanh, "slope", lambda self, z, y: 1 - y)
    wrong = replayed()(network, nets.MeanSquaredError(), batch)[1]["0.weight"]
    assert not torch.allclose(right, wrong)


def test_a_decision_by_a_number_cannot_be_recorded() -> None:
    """A recording would repeat the first decision for ever."""
    x = torch.tensor([1.0, 2.0])
    with pytest.raises(RuntimeError, match="looks at a number"):
        Recording(watched(lambda: x * 2 if x.sum() > 0 else x)[0])


def test_slopes_of_saturated_units_keep_their_digits() -> None:
    """1 − Y² of 1e-5: v − v Y² would lose five digits of seven."""
    network = nets.mlp([3, 4, 2], "tanh", "identity", gain=0.1).float()
    for parameter in network.parameters():
        parameter.data.fill_(1.6)
    batch, engine = Batch(torch.ones(5, 3), torch.ones(5, 2)), replayed()
    expected = backpropagate(network, nets.MeanSquaredError(), batch)
    for _ in range(2):
        torch.testing.assert_close(engine(network, nets.MeanSquaredError(), batch), expected, rtol=1e-6, atol=0)


def test_a_network_that_amplifies_rounding_trains_without_a_recording() -> None:
    network = nets.mlp([8, *[16] * 20, 3], gain=8.0)
    steps = list(
        nets.descend(
            network,
            Batch(torch.rand(30, 8), torch.rand(30, 3)),
            loss=nets.MeanSquaredError(),
            learning_rate=1e-12,
            steps=3,
            batch_size=8,
        )
    )
    assert len(steps) == 3
