"""Random streams: one for each purpose and layer, independent of the others, and determined by the seed."""

import itertools

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Dropout
from nets.verification.probing.prober import Prober
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import signed, stream

PURPOSES = [
    ("cotangent",),
    ("directions",),
    ("directions", "0.weight"),
    ("directions", "0", "weight"),
    ("directions0",),
]


def test_a_stream_is_the_same_for_the_same_seed_and_purpose() -> None:
    assert torch.equal(signed(64, stream(3, "steps", "0.weight")), signed(64, stream(3, "steps", "0.weight")))


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(PURPOSES, 2)))
def test_streams_of_different_purposes_share_no_run_of_numbers(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert not _share_a_run(signed(4096, stream(0, *one)), signed(4096, stream(0, *other)))


def test_streams_of_successive_seeds_share_no_run_of_numbers() -> None:
    assert not _share_a_run(signed(4096, stream(0, "cotangent")), signed(4096, stream(1, "cotangent")))


def test_a_direction_repeats_no_part_of_its_cotangent() -> None:
    """With one stream for both, the direction of the first block was the cotangent shifted by four numbers."""
    problem = Problem(nn.Linear(80, 80).double(), (torch.randn(4, 80, generator=stream(0, "x"), dtype=torch.float64),))
    prober = Prober(problem, torch.zeros_like(problem.y))
    directions = torch.cat([prober.weights(1600) for _ in range(4)])
    assert not _share_a_run(problem.cotangent, directions)


def test_the_same_conversion_gives_the_same_masks_and_each_layer_its_own() -> None:
    def masks(seed: int = 0) -> list[Tensor]:
        module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Tanh()), nn.Dropout())
        parts = nets.Network.from_torch(module, seed=seed).modules()
        return [part.mask((4, 64), 0) for part in parts if isinstance(part, Dropout)]

    first, again, other = masks(), masks(), masks(seed=1)
    assert all(map(torch.equal, first, again)) and len(first) == 3
    for one, two in itertools.combinations([*first, *other], 2):
        assert not torch.equal(one, two)


def test_a_conversion_leaves_the_layers_that_were_in_the_module_as_they_are() -> None:
    layer = Dropout(generator=stream(7, "mask"))
    layer(torch.ones(2, 2))
    before = int(layer.seed), int(layer.drawn)
    assert nets.Network.from_torch(nn.Sequential(layer, nn.Dropout()), seed=3).layers[0] is layer
    assert (int(layer.seed), int(layer.drawn)) == before


def _share_a_run(one: Tensor, other: Tensor, length: int = 8) -> bool:
    """Whether `length` successive numbers of one occur in the other, at any offset."""
    runs = {tuple(run) for run in one.unfold(0, length, 1).tolist()}
    return any(tuple(run) in runs for run in other.unfold(0, length, 1).tolist())
